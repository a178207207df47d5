"""What the tests of the playground run in the browser, with the page's own modules."""

NEED_A_NAME = {
    "button", "radio", "slider", "checkbox", "combobox", "img", "application", "radiogroup",
    "table", "region", "link", "heading", "navigation",
}  # fmt: skip

_LOADED = """
  const { load } = await import("/_static/playground/defenses.js");
  const { manifest, digits, rows } = await load(location.href);
  const image = (at) =>
    Float32Array.from(digits.subarray(784 * at, 784 * at + 784), (level) => level / 255);
"""
GRADIENTS = f"""async (row) => {{ {_LOADED}
  const {{ lossGradient }} = await import("/_static/playground/network.js");
  const results = manifest.labels.map((label, at) => {{
    const found = lossGradient(rows[row].answers, image(at), label);
    return [[...found.logits], [...found.gradient]];
  }});
  return {{ logits: results.map((r) => r[0]), gradients: results.map((r) => r[1]) }};
}}"""
ATTACKS = f"""async ([row, {{ epsilon, steps, count }}]) => {{ {_LOADED}
  const {{ fgsm, pgd }} = await import("/_static/playground/attacks.js");
  const net = rows[row].answers;
  const made = [
    (at, label) => fgsm(net, image(at), {{ label, epsilon }}),
    (at, label) => pgd(net, image(at), {{ label, epsilon, steps }}),
    (at, label) => pgd(net, image(at), {{ label, epsilon, steps, target: (label + 1) % 10 }}),
  ];
  const chosen = manifest.labels.slice(0, count);
  const images = made.map((attack) => chosen.map((label, at) => [...attack(at, label)]));
  return {{ images, again: [...made[1](0, chosen[0])] }};
}}"""
RUNS = 8
FORTY_STEPS = f"""async (row) => {{ {_LOADED}
  const {{ pgd }} = await import("/_static/playground/attacks.js");
  const times = manifest.labels.slice(0, {RUNS}).map((label, at) => {{
    const began = performance.now();
    pgd(rows[row].answers, image(at), {{ label, epsilon: 0.15, steps: 40 }});
    return performance.now() - began;
  }});
  return Math.min(...times);
}}"""
CENTERED = """async ([width, left, top, right, bottom]) => {
  const { centered } = await import("/_static/playground/centering.js");
  const inside = (at) => at % width >= left && at % width < right &&
    at >= top * width && at < bottom * width;
  const ink = Float32Array.from({ length: width * width }, (_, at) => (inside(at) ? 1 : 0));
  const image = centered(ink, width);
  return image && [...image];
}"""
FAINT = """() => {
  const parsed = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = color.map((level) => level / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parsed(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const color = parsed(element.closest("svg") ? style.fill : style.color);
    const [one, other] = [luminance(color.slice(0, 3)), luminance(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${node.textContent.trim()}`);
  }
  return found;
}"""
