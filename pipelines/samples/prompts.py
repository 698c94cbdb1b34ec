"""How a user may ask for what a dialogue answers, in English and Chinese; {phrase} stands for a phrase."""

import hashlib
from typing import Final, Literal

Ask = Literal["where", "what", "describe", "compare", "ground"]

PROMPTS: Final[dict[str, dict[Ask, tuple[str, ...]]]] = {
    "en": {
        "where": (
            "Where is {phrase}?",
            "Can you find {phrase} in the picture?",
            "Mark {phrase} with a box.",
            "Please locate {phrase}.",
            "Show me where {phrase} is.",
        ),
        "what": (
            "What is in {phrase}?",
            "What does {phrase} show?",
            "Tell me what you see in {phrase}.",
            "How would you call what is in {phrase}?",
        ),
        "describe": (
            "Describe the picture.",
            "What can be seen here?",
            "Say in a sentence what the picture shows.",
            "What is going on in this picture?",
        ),
        "ground": (
            "Describe the picture, and mark what you mention with boxes.",
            "What can be seen here, and where is it?",
            "Write a caption in which each thing has its box.",
        ),
        "compare": (
            "Now a question about Picture {number}.",
            "Let us turn to Picture {number}.",
            "Next, Picture {number}.",
        ),
    },
    "zh": {
        "where": (
            "{phrase}在哪里？",
            "请在图中找出{phrase}。",
            "请用框标出{phrase}。",
            "你能指出{phrase}的位置吗？",
            "框出图中{phrase}的位置。",
        ),
        "what": (
            "{phrase}里是什么？",
            "请说出{phrase}里的内容。",
            "{phrase}显示的是什么？",
            "你在{phrase}里看到了什么？",
        ),
        "describe": ("请描述这张图片。", "图里有什么？", "用一句话说说这张图片。", "这张图片里发生了什么？"),
        "ground": (
            "请描述这张图片，并用框标出提到的事物。",
            "图里有什么，分别在哪里？",
            "写一句图片说明，并给每个事物画框。",
        ),
        "compare": ("下面问一个关于图{number}的问题。", "现在看图{number}。", "接下来是图{number}。"),
    },
}
"""Prompts by language and what is asked."""

REGION: Final = {"en": "this region", "zh": "这个区域"}
"""What a user calls a box."""


def spoken(language: str) -> str:
    """The language of the prompts for a sample: Chinese for Chinese, else English."""
    return "zh" if language == "zh" else "en"


def draw(count: int, *seed: object) -> int:
    """A number below `count` that depends on `seed` alone."""
    digest = hashlib.blake2b("\0".join(map(str, seed)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest()) % count


def prompt(language: str, ask: Ask, *seed: object) -> str:
    """One of the prompts, the same for the same seed."""
    choices = PROMPTS[spoken(language)][ask]
    return choices[draw(len(choices), ask, *seed)]
