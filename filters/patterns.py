"""The irregular patterns, fragments and special tags that a recipe starts from.

Expressions are RE2's and ignore case. A *pattern* describes a caption that is nothing else; the
caption stays as it is and the rule `pattern` drops it. A *fragment* is taken out of a caption that
says more; the line feed that cleaning leaves in its place becomes white space. What its group `keep`
holds stays.

In scripts that are written without spaces (`_DENSE`) a fragment touches the sentence. There a pattern
holds no more letters than a word has, and a fragment goes from the end of the sentence.
"""

from typing import Final

from filters.marks import DIGIT, HEX, LETTER, WIDE, NeededMarks

_EXTENSION: Final = (
    r"(?:jpe?g|jpe|jfif|png|gif|webp|bmp|tiff?|svg|heic|heif|avif|ico|psd|eps|raw|cr2|nef|arw|dng|pdf|docx?|pptx?"
    r"|mp4|mov|avi|mkv|webm|html?|php|aspx?)"
)
# marks that stand on these letters, not all of \p{M}: with that RE2 takes ten times as long to compile a pattern
_DENSE: Final = (
    r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
    r"\x{300}-\x{36f}\x{3099}\x{309a}ー々〇"
)
_SPACED: Final = r"\p{Latin}\p{Cyrillic}\p{Greek}\p{Arabic}\p{Hebrew}\p{Armenian}\p{Georgian}\p{N}"
_CLOSED: Final = r"[)\]】）」』”\"'!！。？?…~～]*"
_LONG_TOP_DOMAIN: Final = r"com|org|net|edu|gov|info|biz|app|dev|shop|blog|online|site|xyz|club|store|asia"
_TOP_DOMAIN: Final = (
    rf"(?:{_LONG_TOP_DOMAIN}|io|co|me|tv|ai"
    r"|[a-z]{2}\.[a-z]{2}|cn|tw|hk|jp|kr|in|vn|de|at|ch|uk|ie|us|ca|au|nz|fr|be|nl|es|it|pt|br|mx|pl|cz|sk|ru|ua"
    r"|ro|hu|gr|se|no|fi|dk|tr|eu)"
)
_CAMERA: Final = (
    r"(?:IMG|MVIMG|FB_IMG|DSC|DSCN|DSCF|DSCI|DCIM|DCP|PICT?|MVI|VID|GOPR|GH|DJI|PXL|SAM|CIMG|HPIM|IMGP|KIF|SDC|PANO"
    r"|BURST|SNV|CAM|WP|SL37|Snapchat|received|mmexport|wx_camera|QQ图片|微信图片)"
)
_CAPTURE: Final = r"(?:screen[-_ ]?shot|screen[-_ ]?capture|WhatsApp[-_ ]Image|屏幕截图|屏幕快照|截屏|截图)"
_MONTH: Final = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_WEEKDAY: Final = r"(?:(?:mon|tues?|wed(?:nes)?|thur?s?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+)?"
_YEAR: Final = r"(?:1[5-9]|20)\d\d"
_TIME: Final = (
    r"\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?(?:[.,]\d{1,6})?\s*(?:[ap]\.?m\.?)?\s*(?:Z|UTC|GMT|[+-]\d{2}:?\d{2})?"
)
_DAY: Final = (
    rf"(?:{_YEAR}[-/._]\d{{1,2}}[-/._]\d{{1,2}}|\d{{1,2}}[-/._]\d{{1,2}}[-/._](?:{_YEAR}|\d\d)|{_YEAR}[01]\d[0-3]\d"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[ -]{_MONTH},?[ -]{_YEAR}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? {_YEAR}"
    rf"|{_MONTH} {_YEAR}|\d{{4}}\s*年\s*\d{{1,2}}\s*月(?:\s*\d{{1,2}}\s*[日号])?|\d{{1,2}}月\d{{1,2}}[日号])"
)
_NAMELESS: Final = (
    r"(?:image|img|im|photo|foto|fotos|photos|picture|pic|pics|pict|untitled|unnamed|unknown|default|thumb|thumbnail"
    r"|placeholder|scan|scanned|slide|figure|fig|file|document|doc|download|no ?image|no ?title"
    r"|no ?caption|no ?name"
    r"|attachment|clip_?image|logo|banner|icon|avatar|imagen|bild|obraz|hình|ảnh"
    r"|图片?|图像|照片|图示|未命名|无标题|未标题|下载|附件|配图|插图|画像|写真)"
)
_NUMBER: Final = r"(?:[-_ .#(（第]*\d{1,14}[)）张号]?(?:[-_x ]\d{1,6})*)"

_ADDRESS: Final = r"[!-~]*(?:[/=&?#%_+-]\S*)?"
_SHOP: Final = r"(?:网|網|官网|商城|论坛|旗舰店|之家)"
_DOMAIN: Final = rf"(?:[a-z0-9][a-z0-9-]*\.)+{_TOP_DOMAIN}(?::\d+)?(?:/[!-~]*)?"

PATTERNS: Final[dict[str, str]] = {
    # letters of other scripts belong to an address only behind one of its marks: wiki/猫
    "url": rf"(?:(?:https?|ftp|file|data)://?|www\.){_ADDRESS}(?:\s+(?:https?://|www\.){_ADDRESS})*",
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    # one word, with no more Chinese (Japanese, Thai, …) in it than a word has, or a name that a machine gave
    "file_name": rf"(?:[^\s/\\{_DENSE}]+|[^\s/\\{_DENSE}]*[{_DENSE}]{{1,3}}[^\s/\\{_DENSE}]*"
    rf"|{_NAMELESS}{_NUMBER}?(?: ?\(\d+\))?|{_CAMERA}[-_ ]?\d[-_\d ()]*"
    rf"|{_CAPTURE}[-_ \d.:apmt()]*)\.{_EXTENSION}",
    "path": rf"(?:[a-z]:\\|\\\\|~?/|\.{{1,2}}/)"
    rf"(?:[^\s{_DENSE}]*(?:[{_DENSE}]{{1,3}}[^\s{_DENSE}]*)?|\S*[/\\]\S*|\S*\.{_EXTENSION})",
    "domain": rf"(?:[{_DENSE}]{{0,6}}{_SHOP})?(?:[{_SPACED}-]+\.)+{_TOP_DOMAIN}(?::\d+)?(?:/[!-~]*)?",
    "date": rf"{_WEEKDAY}{_DAY}(?:(?:T|,?\s+(?:at\s+)?|_){_TIME})?|{_TIME}|{_DAY}[-_ T]\d{{6}}",
    "camera": rf"{_CAMERA}[-_ ]?\d{{2,}}[-_\d ().:~]*(?:[a-z]{{0,3}}\d*|copy|edit(?:ed)?)"
    rf"|{_CAPTURE}(?:[-_ ]*(?:from|at|am|pm|\d[-_\d.:]*))*",
    "nameless": rf"{_NAMELESS}(?: ?(?:of|copy))?{_NUMBER}?",
    "digits": r"\d{5,}",
    "hash": r"[0-9a-f]{16,128}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    # pieces of a few letters round many digits: 0018_02_7781_x2, B00XY12345; no model: A320, i7-9700K, WH-1000XM4
    "code": r"[a-z]{0,4}\d+[a-z]{0,3}(?:[-_. ][a-z]{0,3}\d+[a-z]{0,3}){2,}"
    r"|[a-z]{0,4}[-_]?\d{5,}(?:[-_.]?[a-z0-9]{1,3}){0,2}|[a-z]{1,3}\d{1,12}[a-z]{1,3}\d{4,}[a-z]{0,2}"
    r"|[a-z]{0,3}\d{4,12}[a-z]{0,2}[-_.][a-z]{0,2}\d{2,}[a-z]{0,2}|[a-z]{0,3}\d{1,12}[a-z]{0,2}[-_.][a-z]{0,2}\d{5,}[a-z]{0,2}",
    "symbols": r"[^\p{L}]+",
}
"""What captions that say nothing are made of; the first name that fits is the signal `pattern`."""

_SENTENCE: Final = rf"(?P<keep>[{_DENSE}]{_CLOSED})"

FRAGMENTS: Final[dict[str, str]] = {
    "url": r"\b(?:https?://|www\.)[!-~]+",
    "extension": r"\.(?:jpe?g|png|gif|webp|bmp|tiff?)\s*$",
    "wiki_prefix": r"^\s*(?:File|Image):\s*",
    "camera": rf"\b{_CAMERA}[-_]?\d{{4,}}[-_\d]*\b",
    # no decimals: π=3.14159…
    "digit_run": r"^[(\[#（【]?\d{10,}(?:[)\]）】]|\s|\s*[:：|–—-](?:\s|$))"
    r"|[(\[#（【]\d{10,}\b[)\]）】]?|[\s:：,，_-]\d{10,}\s*$",
    "first_domain": rf"^{_DOMAIN}[\s:：|｜_-]*(?P<keep>[{_DENSE}])",
    "last_domain": rf"{_SENTENCE}(?:\s*[-–—_|｜·/,，:：@(（]+\s*[{_DENSE}]{{0,8}}|\s*){_DOMAIN}[)）\]】]*\s*$",
    "last_size": rf"{_SENTENCE}[\s_(（\[【-]*\d{{2,5}} ?[x×*] ?\d{{2,5}} ?(?:px|像素)?[)）\]】]*\s*$",
    "last_code": rf"{_SENTENCE}[\s_(（\[【-]*[a-z]{{0,4}}-?\d{{6,}}(?:[-_][a-z0-9]+)*[)）\]】]*\s*$",
}
"""What is taken out of captions that say more than this."""

NEEDED_MARKS: Final[dict[str, NeededMarks]] = {
    PATTERNS["url"]: NeededMarks((":.",)),
    PATTERNS["email"]: NeededMarks(("@",)),
    PATTERNS["file_name"]: NeededMarks((".",)),
    PATTERNS["path"]: NeededMarks(("/\\",)),
    PATTERNS["domain"]: NeededMarks((".",)),
    PATTERNS["date"]: NeededMarks((DIGIT,)),
    PATTERNS["digits"]: NeededMarks(run=DIGIT, times=5),
    PATTERNS["hash"]: NeededMarks(run=HEX, times=8),
    PATTERNS["code"]: NeededMarks((DIGIT,)),
    PATTERNS["symbols"]: NeededMarks(lacks=LETTER),
    FRAGMENTS["url"]: NeededMarks((":.",)),
    FRAGMENTS["extension"]: NeededMarks((".",)),
    FRAGMENTS["wiki_prefix"]: NeededMarks((":",)),
    FRAGMENTS["camera"]: NeededMarks(run=DIGIT, times=4),
    FRAGMENTS["digit_run"]: NeededMarks(run=DIGIT, times=10),
    FRAGMENTS["first_domain"]: NeededMarks((".", WIDE)),
    FRAGMENTS["last_domain"]: NeededMarks((".", WIDE)),
    FRAGMENTS["last_size"]: NeededMarks((WIDE,), DIGIT, 2),
    FRAGMENTS["last_code"]: NeededMarks((WIDE,), DIGIT, 6),
}
"""What a text has wherever an expression is found: other texts are not searched."""

_HAS_DOMAIN: Final = rf"\.(?:{_LONG_TOP_DOMAIN}|[a-z]{{2}})(?:[^a-z0-9]|$)"
_MAYBE_DENSE: Final = r"[\x{300}-\x{36f}\x{e00}-\x{1fff}\x{2e80}-\x{10ffff}]"
_MONTHS: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"

NEEDED: Final[dict[str, str]] = {
    PATTERNS["file_name"]: rf"\.{_EXTENSION}\W*$",
    PATTERNS["path"]: r"^\W*(?:[a-z]:\\|[/\\])",
    PATTERNS["domain"]: _HAS_DOMAIN,
    PATTERNS[
        "date"
    ]: rf"^\W*(?:[a-z]{{3,9}}\W+)?(?:\d{{1,4}}(?:[-/._:h]\d|\d{{4}}|\s*[年月]|(?:st|nd|rd|th)?[ -]{_MONTHS})"
    rf"|{_MONTHS}[a-z]*\.? \d)",
    # letters of the scripts that most captions are in
    PATTERNS[
        "symbols"
    ]: r"^[^a-z\x{3b1}-\x{3c9}\x{410}-\x{44f}\x{5d0}-\x{5ea}\x{620}-\x{64a}\x{905}-\x{939}\x{e01}-\x{e30}"
    r"\x{3041}-\x{3096}\x{30a1}-\x{30fa}\x{3400}-\x{4db5}\x{4e00}-\x{9fa5}\x{ac00}-\x{d7a3}]*$",
    FRAGMENTS["first_domain"]: rf"(?s)^[a-z0-9-]+\.[a-z0-9].*{_MAYBE_DENSE}",
    FRAGMENTS["last_domain"]: rf"(?s){_MAYBE_DENSE}.*{_HAS_DOMAIN}",
    FRAGMENTS["last_size"]: rf"(?s){_MAYBE_DENSE}.*\d ?[x×*] ?\d\d",
    FRAGMENTS["last_code"]: rf"(?s){_MAYBE_DENSE}.*\d{{6}}",
}
"""Of an expression that takes long to compile, and RE2 compiles for every batch, one that takes little and is found
wherever the other is: where it is in no caption of a batch, the other is left alone."""

_LEADS: Final = (
    r"from|at|via|by|on|visit|see|source|credit|courtesy(?: of)?|photo by|more at|name|isbn|ean|upc|sku|id|item|tel"
    r"|phone|url|link|website"
)
_SEPARATORS: Final = r"\s\-–—|｜:：_,，·@#(（\[【"

STUMPS: Final = (
    r"[(\[（【][\s]*\n[\s]*[)\]）】]",
    r"^\n[\s\-–—|｜:：_,，·]+",
    rf"(?:[{_SEPARATORS}]+(?:{_LEADS})|^(?:{_LEADS})|来自|来源|出自|原文|链接|网址|编号|货号|型号|电话)*[{_SEPARATORS}]*\n\s*$",
)
"""What pointed to a fragment and stands alone without it; the line feed is in the fragment's place."""

SPECIAL_TAGS: Final = (
    "<PERSON>", "<PER>", "<NAME>", "<ORG>", "<ORGANIZATION>", "<LOC>", "<LOCATION>", "<GPE>", "<DATE>",
    "<TIME>", "<NUMBER>", "<NUM>", "<URL>", "<EMAIL>", "<PHONE>", "<USER>", "<UNK>", "[UNK]", "<MASK>",
    "[MASK]", "<PAD>", "[PAD]", "[CLS]", "[SEP]", "<BOS>", "<EOS>", "<SOS>", "<START>", "<END>", "<ENTITY>",
    "<ANONYMIZED>", "<REF>", "</REF>", "<BOX>", "</BOX>", "<QUAD>", "</QUAD>", "<IMGPAD>", "<|ENDOFTEXT|>",
    "<|IM_START|>", "<|IM_END|>",
)  # fmt: skip
"""CC12M's <PERSON>, placeholders of other anonymisers and tokenizers, and Qwen-VL's own markup."""
