// Returns every text on the page whose colour is too near to what lies behind it, and every field whose edge is.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  // The browser itself mixes the colours, so that color-mix(), oklch() and the like are read as they are drawn.
  const rgba = (color) => {
    if (!known.has(color)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(color, [r, g, b, a / 255]);
    }
    return known.get(color);
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const parentOf = (node) => node.assignedSlot ?? node.parentElement ?? node.getRootNode().host ?? null;
  const behind = (node) => {
    if (!node) return rgba(getComputedStyle(document.body).colorScheme.includes("dark") ? "#000" : "#fff");
    const { backgroundColor } = getComputedStyle(node), own = rgba(backgroundColor);
    return own[3] === 1 ? own : over(own, behind(parentOf(node)));
  };
  const linear = (value) => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ratio = (one, other) => { const [low, high] = [light(one), light(other)].sort((a, b) => a - b); return (high + 0.05) / (low + 0.05); };
  const found = new Map();
  const note = (kind, node, color, ground, least, words) => {
    const measured = ratio(over(rgba(color), ground), ground);
    if (measured >= least) return;
    const name = `${kind} ${node.localName}.${[...node.classList].slice(0, 3).join(".")} in .${[...(parentOf(node)?.classList ?? [])].slice(0, 2).join(".")}`;
    if (!found.has(name)) found.set(name, `${name}: ${measured.toFixed(2)} of ${least}, ${color} on ${ground.slice(0, 3).map(Math.round)}: ${words}`);
  };
  const look = (node) => {
    const style = getComputedStyle(node);
    if (style.display === "none" || style.visibility === "hidden" || node.closest("svg, :disabled, [aria-disabled=true]")) return;
    const box = node.getBoundingClientRect();
    const words = [...node.childNodes].filter((one) => one.nodeType === 3).map((one) => one.nodeValue.trim()).join(" ").trim();
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (words && box.width > 1 && box.height > 1) note("text", node, style.color, behind(node), large ? 3 : 4.5, words.slice(0, 40));
    const field = ["textarea", "select"].includes(node.localName) || (node.localName === "input" && !["checkbox", "radio", "range", "file", "hidden"].includes(node.type));
    if (field && box.width > 1) {
      note("field", node, style.color, behind(node), 4.5, node.value);
      if (node.placeholder) note("placeholder", node, getComputedStyle(node, "::placeholder").color, behind(node), 4.5, node.placeholder);
      if (parseFloat(style.borderTopWidth)) note("edge", node, style.borderTopColor, behind(parentOf(node)), 3, node.ariaLabel ?? "");
    }
    for (const child of [...node.children, ...(node.shadowRoot?.children ?? [])]) look(child);
  };
  look(document.body);
  return [...found.values()];
}
