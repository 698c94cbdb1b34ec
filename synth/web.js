// Gives the words that a reader sees in the viewport: [text, [x, y, width, height], block, space, down], and how
// many are left out because they are hidden, see-through, clipped by an ancestor or covered by something else;
// first it scrolls to `top`, and it tells where it got to and where the document ends.
([top, limit]) => {
  if (top === 0) {
    // what would show text that no text node of the document holds: generated, list markers, frames; or text that
    // only a browser without scripts is given; and what is turned, of which no upright box holds the words
    const style = document.createElement("style");
    style.textContent = "noscript { display: none !important } "
      + "*, *::before, *::after { animation: none !important; transition: none !important } "
      + "iframe, frame { visibility: hidden !important } "
      + "*::before, *::after, *::marker, *::placeholder, input, textarea, select, option "
      + "{ color: transparent !important }";
    document.documentElement.append(style);
    const span = document.createRange();
    // a font without measures for columns lays Han characters on one another
    const heaped = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE
      && [...node.nodeValue.slice(0, 1000).matchAll(/\p{Script=Han}/gu)].some((match) => {
        span.setStart(node, match.index);
        span.setEnd(node, match.index + match[0].length);
        return span.getBoundingClientRect().height === 0;
      }));
    for (const element of document.querySelectorAll("body *")) {
      const { transform, rotate, writingMode } = getComputedStyle(element);
      const matrix = new DOMMatrix(transform === "none" ? "" : transform);
      const turned = Math.abs(matrix.b) + Math.abs(matrix.c) > 0.01 || matrix.a < 0 || matrix.d < 0;
      const columns = !writingMode.startsWith("horizontal");
      if (turned || rotate !== "none" || (columns && heaped(element))) element.style.setProperty("opacity", "0", "important");
    }
  }
  window.scrollTo(0, top);
  const place = {
    reached: Math.round(window.scrollY), end: Math.max(document.documentElement.scrollHeight, innerHeight),
  };
  const width = innerWidth, height = innerHeight, words = [];
  const looks = new Map(), blocks = new Map();
  let left = 0;

  // of an element and all above it: is it shown, which boxes clip it, which block does it flow in
  const look = (element) => {
    if (looks.has(element)) return looks.get(element);
    const up = element.parentElement ? look(element.parentElement) : { solid: true, clips: [], block: element };
    const details = element.parentElement;
    const folded = up.folded
      || (details !== null && details.tagName === "DETAILS" && !details.open && element.tagName !== "SUMMARY");
    const style = getComputedStyle(element);
    const alpha = /rgba\(.*[, ]([\d.]+)\)$/.exec(style.color);
    const solid = up.solid && Number(style.opacity) >= 0.2;
    const root = element === document.documentElement || element === document.body;
    let clips = style.position === "fixed" ? [] : up.clips;
    if (!root && (style.overflowX !== "visible" || style.overflowY !== "visible" || style.clipPath !== "none")) {
      clips = [...clips, element.getBoundingClientRect()];
    }
    if (style.position === "absolute" && style.clip !== "auto") clips = [...clips, new DOMRect(0, 0, 0, 0)];
    const flows = /^(inline|contents|ruby|ruby-text)$/.test(style.display);
    const result = {
      solid, clips, folded, block: flows ? up.block : element, transform: style.textTransform,
      down: style.writingMode.startsWith("horizontal") ? 0 : 1,
      shown: solid && !folded && style.visibility === "visible" && !(alpha && Number(alpha[1]) < 0.2)
        && parseFloat(style.fontSize) >= 6,
    };
    looks.set(element, result);
    return result;
  };
  const inside = (rect, clips) => clips.every((box) => rect.left >= box.left - 2 && rect.right <= box.right + 2
    && rect.top >= box.top - 2 && rect.bottom <= box.bottom + 2);
  const open = (rect, element) => {
    const x = Math.min(Math.max((rect.left + rect.right) / 2, 0), width - 1);
    const y = Math.min(Math.max((rect.top + rect.bottom) / 2, 0), height - 1);
    const over = document.elementFromPoint(x, y);
    return over !== null && (over === element || element.contains(over) || over.contains(element));
  };
  const number = (block) => {
    if (!blocks.has(block)) blocks.set(block, blocks.size);
    return blocks.get(block);
  };
  const shaped = (text, transform) => {
    if (transform === "uppercase") return text.toLocaleUpperCase();
    if (transform === "lowercase") return text.toLocaleLowerCase();
    return transform === "capitalize" ? text.replace(/\p{L}/u, (letter) => letter.toUpperCase()) : text;
  };

  const wide = "\\u2e80-\\u312f\\u31a0-\\u9fff\\uac00-\\ud7af\\uf900-\\ufaff\\uff00-\\uffef";
  // Han and kana may break anywhere, so each is measured by itself; web_text.py joins them again
  const pattern = new RegExp(`[${wide}]|[^\\s${wide}]+`, "gu");
  const skip = new Set(["SCRIPT", "STYLE", "NOSCRIPT", "TEMPLATE", "TITLE", "OPTION", "TEXTAREA", "SELECT"]);
  const walker = document.createTreeWalker(document.body || document.documentElement, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let pending = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, text = node.nodeValue;
    if (!element || skip.has(element.tagName)) continue;
    if (!text.trim()) { pending = true; continue; }
    range.selectNodeContents(node);
    const whole = range.getBoundingClientRect();
    if (whole.bottom < 0 || whole.top > height || whole.width === 0) { pending = true; continue; }
    const { shown, clips, block, transform, down } = look(element);
    const unfolded = element.tagName !== "DETAILS" || element.open;
    let end = 0, checked = null;
    for (const match of text.matchAll(pattern)) {
      if (words.length >= limit) return { words, left, ...place };
      const space = pending || /\s/.test(text.slice(end, match.index));
      end = match.index + match[0].length;
      pending = false;
      range.setStart(node, match.index);
      range.setEnd(node, end);
      const rects = [...range.getClientRects()].filter((rect) => rect.width > 0 && rect.height > 0);
      if (rects.length === 0 || rects[0].bottom < 0 || rects[0].top > height) continue;
      const rect = rects.length === 1 ? rects[0] : range.getBoundingClientRect();
      // a word that the browser broke over two lines has no box of its own
      const side = down ? "left" : "top", size = down ? "width" : "height";
      const broken = rects.some((one) => Math.abs(one[side] - rects[0][side]) > one[size] / 2);
      // what is on top is asked anew every few characters of a row
      if (checked === null || checked.row !== rect.top || Math.abs(rect.left - checked.at) > 3 * rect.height
          || match[0].length > 1) {
        checked = { row: rect.top, at: rect.left, open: open(rect, element) };
      }
      if (broken || !shown || !unfolded || !checked.open || rect.left < 0 || rect.right > width || !inside(rect, clips)) {
        left += 1;
        continue;
      }
      const box = [rect.left, rect.top, rect.width, rect.height];
      words.push([shaped(match[0], transform), box, number(block), space, down]);
    }
    if (/\s$/.test(text)) pending = true;
  }
  return { words, left, ...place };
}
