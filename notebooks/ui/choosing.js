// A stretch of time and a provider, as buttons that stand in the address.

function button(text, pressed, onclick) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = text;
  node.setAttribute("aria-pressed", pressed);
  node.onclick = onclick;
  return node;
}

function group(word, buttons) {
  const node = document.createElement("div");
  node.className = "tw-choose-group";
  node.setAttribute("role", "group");
  node.ariaLabel = word;
  node.append(...buttons);
  return node;
}

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "tw-choose";
  el.append(root);

  const choose = (changes) => {
    const query = { ...model.get("query"), ...changes };
    if (!query.provider) delete query.provider;
    const address = new URLSearchParams(location.search);
    for (const key of ["range", "provider"]) {
      if (query[key] && !(key === "range" && query[key] === model.get("usual"))) address.set(key, query[key]); else address.delete(key);
    }
    const text = address.toString();
    history.replaceState(history.state, "", location.pathname + (text ? `?${text}` : ""));
    model.set("query", query);
    model.save_changes();
    paint();
  };
  const paint = () => {
    const query = model.get("query"), had = root.getRootNode().activeElement?.textContent;
    const ranges = model.get("ranges").map((range) => button(range, query.range === range, () => choose({ range })));
    const names = model.get("providers"), gone = query.provider && !names.some(([name]) => name === query.provider) ? [[query.provider, ""]] : [];
    const providers = [...names, ...gone].map(([name, color]) => {
      const chip = button(name, query.provider === name, () => choose({ provider: query.provider === name ? "" : name }));
      const swatch = document.createElement("i");
      swatch.style.background = color || "transparent";
      chip.prepend(swatch);
      return chip;
    });
    const all = button("all", !query.provider, () => choose({ provider: "" }));
    root.replaceChildren(group("time", ranges), ...(providers.length > 1 || query.provider ? [group("provider", [all, ...providers])] : []));
    if (had) [...root.querySelectorAll("button")].find((one) => one.textContent === had)?.focus();
  };
  model.on("change:providers", paint);
  paint();
  return () => model.off("change:providers", paint);
}

export default { render };
