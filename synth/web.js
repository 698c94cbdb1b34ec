// Gives the words that a reader sees in the viewport: [text, [x, y, width, height], block, space].
// A word is left out where it is hidden, clipped by an ancestor, see-through, or covered by something else.
(limit) => {
  const width = innerWidth, height = innerHeight, words = [], blocks = new Map();
  const seen = new Map();
  let left = 0;
  const shows = (element) => {
    if (seen.has(element)) return seen.get(element);
    const style = getComputedStyle(element);
    const alpha = /rgba\(.*, ?([\d.]+)\)$/.exec(style.color);
    const clear = alpha && Number(alpha[1]) < 0.2;
    const up = element.parentElement;
    const good = style.visibility === "visible" && !clear && parseFloat(style.fontSize) >= 6;
    const solid = (node) => {
      for (let at = node; at; at = at.parentElement) {
        if (Number(getComputedStyle(at).opacity) < 0.2) return false;
      }
      return true;
    };
    const result = good && (up === null || solid(element));
    seen.set(element, result);
    return result;
  };
  const blockOf = (element) => {
    let at = element;
    while (at && /^(inline|contents|ruby)/.test(getComputedStyle(at).display) && at.parentElement) {
      if (/^inline-(block|flex|grid|table)$/.test(getComputedStyle(at).display)) break;
      at = at.parentElement;
    }
    if (!blocks.has(at)) blocks.set(at, blocks.size);
    return blocks.get(at);
  };
  const inside = (rect, element) => {
    for (let at = element; at && at !== document.documentElement; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (at === document.body && style.overflow !== "clip") break;
      if (style.overflowX === "visible" && style.overflowY === "visible" && style.clipPath === "none"
          && style.clip === "auto") continue;
      if (style.clip !== "auto" && style.position === "absolute") return false;
      const box = at.getBoundingClientRect();
      if (rect.left < box.left - 2 || rect.right > box.right + 2
          || rect.top < box.top - 2 || rect.bottom > box.bottom + 2) return false;
    }
    return true;
  };
  const open = (rect, element) => {
    const x = Math.min(Math.max((rect.left + rect.right) / 2, 0), width - 1);
    const y = Math.min(Math.max((rect.top + rect.bottom) / 2, 0), height - 1);
    const top = document.elementFromPoint(x, y);
    return top !== null && (top === element || element.contains(top) || top.contains(element));
  };
  const walker = document.createTreeWalker(document.body || document.documentElement, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  const skip = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "TITLE", "OPTION", "TEXTAREA", "SELECT"]);
  let pending = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!element || skip.has(element.tagName)) continue;
    const text = node.nodeValue;
    if (!text.trim()) { pending = true; continue; }
    range.selectNodeContents(node);
    const whole = range.getBoundingClientRect();
    if (whole.bottom < 0 || whole.top > height || whole.width === 0) { pending = true; continue; }
    const visible = shows(element), block = blockOf(element);
    const transform = getComputedStyle(element).textTransform;
    // Han and kana may break anywhere, so each is measured by itself and joined again by its row
    const pattern = /[\u2e80-\u312f\u31a0-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|[^\s\u2e80-\u312f\u31a0-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+/gu;
    let end = 0;
    for (const match of text.matchAll(pattern)) {
      if (words.length >= limit) return { words, left };
      const space = pending || /\s/.test(text.slice(end, match.index));
      end = match.index + match[0].length;
      pending = false;
      range.setStart(node, match.index);
      range.setEnd(node, end);
      const rects = [...range.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
      if (rects.length === 0 || rects[0].bottom < 0 || rects[0].top > height) continue;
      const split = rects.length > 1 && rects.some((rect) => Math.abs(rect.top - rects[0].top) > rect.height / 2);
      const rect = range.getBoundingClientRect();
      if (split || !visible || rect.left < 0 || rect.right > width || !inside(rect, element) || !open(rect, element)) {
        left += 1;
        continue;
      }
      let shown = match[0];
      if (transform === "uppercase") shown = shown.toLocaleUpperCase();
      else if (transform === "lowercase") shown = shown.toLocaleLowerCase();
      else if (transform === "capitalize") shown = shown.replace(/\p{L}/u, (letter) => letter.toUpperCase());
      words.push([shown, [rect.left, rect.top, rect.width, rect.height], block, space]);
    }
    if (/\s$/.test(text)) pending = true;
  }
  return { words, left };
}
