// A stretch of time and a provider, as buttons that stand in the address.

function choice(text, pressed, onclick) {
  const node = button("", text, onclick);
  node.setAttribute("aria-pressed", pressed);
  return node;
}

function group(word, buttons) {
  const node = element("div", "tw-choose-group");
  node.setAttribute("role", "group");
  node.ariaLabel = word;
  node.append(...buttons);
  return node;
}

function render({ model, el }) {
  const root = element("div", "tw-choose");
  el.append(root);

  const choose = (changes) => {
    const query = { ...model.get("query"), ...changes };
    if (!query.provider) delete query.provider;
    writeAddress(["range", "provider"], { ...query, ...(query.range === model.get("usual") ? { range: "" } : {}) });
    model.set("query", query);
    model.save_changes();
    paint();
  };
  const paint = () => {
    const query = model.get("query"), had = root.getRootNode().activeElement?.textContent;
    const ranges = model.get("ranges").map((range) => choice(range, query.range === range, () => choose({ range })));
    const names = model.get("providers"), gone = query.provider && !names.some(([name]) => name === query.provider) ? [[query.provider, ""]] : [];
    const providers = [...names, ...gone].map(([name, color]) => {
      const chip = choice(name, query.provider === name, () => choose({ provider: query.provider === name ? "" : name }));
      const swatch = element("i");
      swatch.style.background = color || "transparent";
      chip.prepend(swatch);
      return chip;
    });
    const all = choice("all", !query.provider, () => choose({ provider: "" }));
    root.replaceChildren(group("time", ranges), ...(providers.length > 1 || query.provider ? [group("provider", [all, ...providers])] : []));
    if (had) [...root.querySelectorAll("button")].find((one) => one.textContent === had)?.focus();
  };
  model.on("change:providers", paint);
  paint();
  return () => model.off("change:providers", paint);
}

export default { render };
