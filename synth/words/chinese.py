"""Chinese, in simplified characters."""

from synth.words.language import Language, Noun

_NUMBERS = {1: "一个", 2: "两个", 3: "三个", 4: "四个"}
_SIZES = {"small": "小", "medium": "", "large": "大"}
_COLOURS = {
    "red": "红色", "orange": "橙色", "yellow": "黄色", "green": "绿色", "blue": "蓝色", "purple": "紫色",
    "pink": "粉色", "brown": "棕色", "black": "黑色", "white": "白色", "grey": "灰色",
}  # fmt: skip
_SHAPES = {
    "circle": "圆形", "square": "正方形", "triangle": "三角形", "star": "星星", "heart": "爱心",
    "cross": "十字", "ring": "圆环", "diamond": "菱形", "crescent": "月牙", "hexagon": "六边形",
}  # fmt: skip


def noun(said: Noun) -> str:
    """`红色的圆形`, `一个红色的小圆形`, `两个红色的圆形`."""
    number, size = _NUMBERS.get(said.count, ""), _SIZES[said.size or "medium"]
    return f"{number}{_COLOURS[said.colour]}的{size}{_SHAPES[said.shape]}"


CHINESE = Language(
    code="zh",
    noun=noun,
    lists=("图中有{things}", "这张图片上有{things}", "画面里可以看到{things}", "一张画着{things}的图片"),
    grounded=("{ground}有{things}", "在{ground}画着{things}", "这张图里，{ground}有{things}"),
    left=("{a}在{b}的左边", "{b}在{a}的右边", "左边是{a}，右边是{b}"),
    above=("{a}在{b}的上方", "{b}在{a}的下方", "上面是{a}，下面是{b}"),
    counted="图中共有{total}：{things}",
    totals={2: "两个图形", 3: "三个图形", 4: "四个图形"},
    grounds={
        "gradient": "渐变的背景上",
        "stripes": "条纹背景上",
        "checks": "格子背景上",
        "dots": "圆点背景上",
        "clouds": "斑驳的背景上",
        "photo": "一张照片上",
    },
    comma="、",
    last="和",
    stop="。",
    photos=("{thing}的照片", "这张照片里是{thing}", "照片上可以看到{thing}"),
)
