"""Japanese, Korean and Vietnamese: nothing agrees, but counting has its words."""

from synth.words.language import Language, Noun

_JA_COLOURS = {
    "red": "赤い", "orange": "オレンジ色の", "yellow": "黄色い", "green": "緑色の", "blue": "青い",
    "purple": "紫色の", "pink": "ピンク色の", "brown": "茶色い", "black": "黒い", "white": "白い",
    "grey": "灰色の",
}  # fmt: skip
_JA_SHAPES = {
    "circle": "円", "square": "正方形", "triangle": "三角形", "star": "星", "heart": "ハート",
    "cross": "十字", "ring": "リング", "diamond": "ひし形", "crescent": "三日月", "hexagon": "六角形",
}  # fmt: skip
_KO_COLOURS = {
    "red": "빨간", "orange": "주황색", "yellow": "노란", "green": "초록색", "blue": "파란",
    "purple": "보라색", "pink": "분홍색", "brown": "갈색", "black": "검은", "white": "하얀",
    "grey": "회색",
}  # fmt: skip
_KO_SHAPES = {
    "circle": "원", "square": "정사각형", "triangle": "삼각형", "star": "별", "heart": "하트",
    "cross": "십자가", "ring": "고리", "diamond": "마름모", "crescent": "초승달", "hexagon": "육각형",
}  # fmt: skip
_VI_COLOURS = {
    "red": "đỏ", "orange": "cam", "yellow": "vàng", "green": "xanh lá cây", "blue": "xanh dương",
    "purple": "tím", "pink": "hồng", "brown": "nâu", "black": "đen", "white": "trắng", "grey": "xám",
}  # fmt: skip
_VI_SHAPES = {
    "circle": "hình tròn", "square": "hình vuông", "triangle": "hình tam giác", "star": "ngôi sao",
    "heart": "trái tim", "cross": "hình chữ thập", "ring": "chiếc vòng", "diamond": "hình thoi",
    "crescent": "hình trăng khuyết", "hexagon": "hình lục giác",
}  # fmt: skip


def japanese_noun(said: Noun) -> str:
    """`赤い円`, `小さな赤い円`, `二つの赤い円`."""
    number = {2: "二つの", 3: "三つの", 4: "四つの"}.get(said.count, "")
    size = {"small": "小さな", "large": "大きな"}.get(said.size or "", "")
    return number + size + _JA_COLOURS[said.colour] + _JA_SHAPES[said.shape]


def korean_noun(said: Noun) -> str:
    """`빨간 원`, `작은 빨간 원`, `빨간 원 두 개`."""
    number = {2: "두 개", 3: "세 개", 4: "네 개"}.get(said.count, "")
    size = {"small": "작은", "large": "큰"}.get(said.size or "", "")
    return " ".join(w for w in (size, _KO_COLOURS[said.colour], _KO_SHAPES[said.shape], number) if w)


def vietnamese_noun(said: Noun) -> str:
    """`hình tròn màu đỏ`, `một hình tròn nhỏ màu đỏ`, `hai hình tròn màu đỏ`."""
    number = {1: "một", 2: "hai", 3: "ba", 4: "bốn"}.get(said.count, "")
    size = {"small": "nhỏ", "large": "lớn"}.get(said.size or "", "")
    return " ".join(w for w in (number, _VI_SHAPES[said.shape], size, "màu", _VI_COLOURS[said.colour]) if w)


JAPANESE = Language(
    code="ja",
    noun=japanese_noun,
    lists=("この画像には{things}が描かれています", "{things}が描かれたイラスト"),
    grounded=("{ground}に描かれた{things}のイラスト", "{ground}に{things}が描かれています"),
    left=("左側に{a}、右側に{b}が描かれています", "左に{a}、右に{b}があります"),
    above=("上の方に{a}、下の方に{b}が描かれています", "上に{a}、下に{b}があります"),
    counted="全部で{total}：{things}です",
    totals={2: "二つの図形", 3: "三つの図形", 4: "四つの図形"},
    grounds={
        "gradient": "グラデーションの背景",
        "stripes": "縞模様の背景",
        "checks": "チェック柄の背景",
        "dots": "水玉模様の背景",
        "clouds": "まだら模様の背景",
        "photo": "写真の背景",
    },
    comma="、",
    last="と",
    stop="。",
    photos=("{thing}の写真です",),
)

KOREAN = Language(
    code="ko",
    noun=korean_noun,
    lists=("그림 속에 보이는 도형: {things}", "이 그림에 그려진 것은 {things}"),
    grounded=("{ground} 그려진 {things}", "그림 속 {ground} 있는 {things}"),
    left=("왼쪽에는 {a}, 오른쪽에는 {b}", "그림의 왼쪽에 {a}, 오른쪽에 {b}"),
    above=("위쪽에는 {a}, 아래쪽에는 {b}", "그림의 위에 {a}, 아래에 {b}"),
    counted="그림 속에는 모두 {total}: {things}",
    totals={2: "도형 두 개", 3: "도형 세 개", 4: "도형 네 개"},
    grounds={
        "gradient": "그라데이션 배경 위에",
        "stripes": "줄무늬 배경 위에",
        "checks": "체크무늬 배경 위에",
        "dots": "물방울무늬 배경 위에",
        "clouds": "얼룩무늬 배경 위에",
        "photo": "사진 위에",
    },
    last=", ",
)

VIETNAMESE = Language(
    code="vi",
    noun=vietnamese_noun,
    lists=("{things}", "trong hình có {things}", "bức tranh vẽ {things}"),
    grounded=("{things} {ground}", "trong hình có {things} {ground}"),
    left=("{a} ở bên trái {b}", "{b} ở bên phải {a}", "bên trái là {a}, bên phải là {b}"),
    above=("{a} ở phía trên {b}", "{b} ở phía dưới {a}", "phía trên là {a}, phía dưới là {b}"),
    counted="{total}: {things}",
    totals={2: "hai hình vẽ", 3: "ba hình vẽ", 4: "bốn hình vẽ"},
    grounds={
        "gradient": "trên nền chuyển màu",
        "stripes": "trên nền kẻ sọc",
        "checks": "trên nền kẻ ô",
        "dots": "trên nền chấm bi",
        "clouds": "trên nền loang lổ",
        "photo": "trên một bức ảnh",
    },
    last=" và ",
)
