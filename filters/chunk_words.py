"""The closed word classes by which chunks are told apart without a model."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class EnglishWords:
    """Words that begin a chunk, words that end one, and the verbs that captions use most (as stems)."""

    singular: frozenset[str]
    determiners: frozenset[str]
    breaks: frozenset[str]
    verbs: frozenset[str]
    irregular: frozenset[str]
    not_ed: frozenset[str]
    not_ly: frozenset[str]
    nouns_ing: frozenset[str]


@dataclass(frozen=True, slots=True)
class ChineseWords:
    """Numerals, classifiers, words that end a chunk, verbs, and what may stand inside one."""

    numerals: str
    classifiers: tuple[str, ...]
    breaks: tuple[str, ...]
    verbs: tuple[str, ...]
    compounds: tuple[str, ...]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _row(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_SINGULAR: Final = _set("a an this that another each every one")
_NUMBERS: Final = "two three four five six seven eight nine ten eleven twelve"

ENGLISH: Final = EnglishWords(
    singular=_SINGULAR,
    determiners=_SINGULAR
    | _set(
        f"the these those my your his her its their our some any no both all several many few various {_NUMBERS}"
    ),
    breaks=_set(
        "of in on at by for with without from to into onto over under above below between among behind beside "
        "besides near through across along around against during before after about up down off out inside outside "
        "toward towards upon within beneath underneath past next like as than while and or but nor so because if "
        "when where who whom whose which what that's there here it it's he she they we you i me him them us himself "
        "herself itself themselves is are was were be been being am has have had having do does did can could will "
        "would should may might must not isn't aren't very too also just only together alone away back then that's "
        "ready still while it's atop amongst amid via per using upside how why whether"
    ),
    verbs=_set(
        "stand sit ride hold wear walk play eat drink look lie lay hang park fly jump run swing watch carry pose "
        "smile wait drive pull push talk lean rest sleep fill cover prepare get take make show have use catch throw "
        "hit kick cut cook serve travel pass cross ski surf skate skateboard swim graze gather line top surround "
        "contain include display feature try go come stop fall reach touch face feed pet hug kiss read write work "
        "perform lead follow move bend dress decorate attach connect load mount paint open close enjoy perch float "
        "sail race point stare gaze seem appear let give put set see"
    ),
    irregular=_set(
        "sat stood held wore worn ate eaten lay laid hung flew flown ran swung took taken made rode ridden drove "
        "driven went came fell fed led bent shown seen given put set got gets goes does lying tied called "
        # adjectives that stand after their noun
        "full high nearby close idle"
    ),
    not_ed=_set("bed red shed sled seed weed speed breed steed feed bleed bobsled naked wicked rugged"),
    not_ly=_set(
        "family fly butterfly belly jelly lily assembly bully ally dolly trolley early ugly lovely only curly"
    ),
    nouns_ing=_set(
        "building ceiling clothing railing wing ring king string swing painting dressing icing wedding lighting "
        "pudding spring frosting topping evening morning crossing sling lettering awning carving thing drawing "
        "earring landing bedding fencing siding parking shopping dining living skating skiing"
    ),
)

CHINESE: Final = ChineseWords(
    numerals="一二两三四五六七八九十几多半0123456789",
    classifiers=_row(
        "个 只 名 位 条 张 辆 匹 头 棵 朵 座 把 件 双 对 群 些 艘 架 台 块 片 本 杯 盘 "
        "碗 瓶 根 颗 间 栋 幅 盏 束 堆 排 顶 副 支 枝 串 篮 盒 袋 种 款 面 扇 列 排 层 "
        "口 尊 株 份 组 簇 粒"
    ),
    breaks=(
        *_row(
            "， 。 、 ； ： ！ ？ , . ; : ! ? （ ） ( ) “ ” \" ' 和 与 及 以及 或 跟 同 在 "
            "从 向 往 朝 对 被 把 给 让 用 于 到 着 了 过 正 正在 上 里 下 中 内 外 旁 "
            "旁边 上面 下面 里面 外面 前面 后面 前方 后方 之间 周围 附近 那里 这里 是 有 "
            "没有 很 都 也 还 就 并 而 且 并且 然后 她 他 它 他们 她们 它们 我 你 我们 这 "
            "那 其 旁边的"
        ),
        " ",
        "　",
        "\n",
        "\t",
    ),
    verbs=_row(
        "站立 站 坐 骑 拿 穿 戴 看着 看 走 跑 跳 躺 趴 吃 喝 玩 飞 停放 停 挂 放 抱 举 "
        "拍 打 踢 推 拉 牵 背着 靠 睡 笑 说话 聊天 行驶 奔跑 摆放 摆 铺 装 盛 握 抓 追 "
        "骑着 穿着 戴着 拿着 坐着 站着 牵着 抱着 举着 看见 显示 展示 围绕 覆盖 装满 写 "
        "画着 印 使用 准备 享受 等待 等 冲浪 滑雪 游泳 散步 工作 学习"
    ),
    # words that hold a character which would else end them
    compounds=_row(
        "上衣 下巴 中国 外套 内衣 和尚 飞机 飞盘 火车站 车站 站台 站牌 停车场 停车标志 "
        "滑雪板 滑雪者 冲浪板 冲浪者 跑道 跑步者 打印机 坐垫 座位 写字楼 画家 拉面 "
        "背包 背心 看台 跑车 跳水 睡衣 笑脸 吃饭 打火机 打字机 举重 推车 拉链 拍子 "
        "球拍 喝水 游泳池 工作台 工作人员 同学 同伴 对面 里程 挂钟 挂件 放大镜 装饰 "
        "走廊 骑手 骑士 躺椅 玩具 玩偶 食物 穿山甲 戴胜 印章 摆件 向日葵 正方形 地上 "
        "过道 让座 用具 用品 内裤 外墙 外国人 下水道 上班族 那不勒斯 马路 了望塔 把手 "
        "其他人 等候室 学习机 停机坪 车把 给养 使用者 显示器 显示屏 运动员"
    ),
)
