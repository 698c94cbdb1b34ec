"""How the page looks."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: #f6f8fa; color: #1f2328;
  font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
mark { background: #fff3b0; color: inherit; border-radius: 2px; box-decoration-break: clone; }
.legend { color: #57606a; font-size: .85rem; }
article { background: #fff; border: 1px solid #d0d7de; border-radius: 10px; padding: .8rem 1rem; margin: 0 0 1rem; }
header { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; font-size: .8rem; margin-bottom: .6rem; }
header code { overflow-wrap: anywhere; font-weight: 600; }
header span { background: #eaeef2; border-radius: 1em; padding: 0 .6em; }
header span:empty { display: none; }
section { margin: .5rem 0; display: flex; flex-direction: column; align-items: flex-start; }
section h2 { font-size: .75rem; font-weight: 600; color: #57606a; margin: 0 .8rem; }
section > div { border-radius: 12px; padding: .5rem .8rem; max-width: 86%; white-space: pre-wrap;
  overflow-wrap: anywhere; background: #eef2f6; }
section.document > div, section.system > div { max-width: 100%; }
section.document > div { background: #fbfbfb; border: 1px solid #eaeef2; }
section.document h2 { display: none; }
section.assistant { align-items: flex-end; }
section.assistant > div { background: #e6f4ea; }
section.system > div { background: #f3eefc; font-size: .85rem; }
figure { margin: .2rem 0 .4rem; }
.picture { position: relative; line-height: 0; }
/* regions are of the picture as stored, which a browser would turn by its EXIF tag */
.picture img { width: 100%; image-orientation: none; }
.picture svg { position: absolute; inset: 0; width: 100%; height: 100%; }
polygon { fill-opacity: .08; stroke-width: 2px; vector-effect: non-scaling-stroke; }
svg text { fill: #fff; text-anchor: middle; font-family: system-ui, sans-serif; font-weight: 700; }
figcaption { font-size: .75rem; color: #57606a; line-height: 1.6; }
.phrase { border-bottom: 2px solid #8c959f; font-weight: 600; }
.phrase sub { font-size: .65em; margin-left: .15em; line-height: 0; }
details { margin-top: .5rem; font-size: .8rem; color: #57606a; }
details.refused { color: #d1242f; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; color: #1f2328; }
"""
