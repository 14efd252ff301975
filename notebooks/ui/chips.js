// Groups of choices as buttons, some with a moment to be typed, that stand in the page's address.

function render({ model, el }) {
  const root = element("div", `tw-chips tw-chips-${model.get("layout")}`), fields = new Map();
  el.append(root);

  const choose = (group, value) => {
    const query = { ...model.get("query") };
    if (value) query[group.key] = value; else delete query[group.key];
    writeAddress([group.key], { [group.key]: value === group.usual ? "" : value });
    model.set("query", query);
    model.save_changes();
    paint();
  };
  const chip = (group, chosen, { value, text, color }) => {
    const pressed = chosen === value;
    // A second press takes back what may be left unchosen.
    const node = button("", text, () => choose(group, pressed && !group.usual ? "" : value));
    node.ariaPressed = String(pressed);
    if (group.choices.some((choice) => choice.color)) {
      const swatch = element("i");
      swatch.style.background = color || "transparent";
      if (value) node.prepend(swatch);
    }
    return node;
  };
  // It stands in the address with its zone, and stays the same field, so that it can be typed in.
  const field = (group, chosen) => {
    const kept = fields.get(group.key) ?? Object.assign(element("input"), { type: "datetime-local", ariaLabel: group.word });
    fields.set(group.key, kept);
    kept.onchange = () => choose(group, kept.value ? new Date(kept.value).toISOString() : "");
    kept.value = localTime(chosen);
    kept.max = localTime(present());
    return kept;
  };
  const line = (group) => {
    const chosen = model.get("query")[group.key] ?? group.usual;
    const gone = group.open && chosen && group.choices.every(({ value }) => value !== chosen) ? [{ value: chosen, text: chosen }] : [];
    const choices = [...group.choices, ...gone];
    if (choices.length < 2 && !group.moment) return null;
    const node = element("div", "tw-chips-group");
    node.setAttribute("role", "group");
    node.ariaLabel = group.word;
    node.append(element("span", "tw-chips-word", group.word), ...choices.map((choice) => chip(group, chosen, choice)), ...(group.moment ? [field(group, chosen)] : []));
    return node;
  };
  const paint = () => {
    const had = root.getRootNode().activeElement, word = had?.textContent;
    root.replaceChildren(...model.get("groups").map(line).filter(Boolean));
    if (word) [...root.querySelectorAll("button")].find((one) => one.textContent === word)?.focus();
    else if ([...fields.values()].includes(had)) had.focus();
  };
  // The browser's way back, too, chooses.
  const back = () => {
    const address = new URLSearchParams(location.search), query = {};
    for (const { key, choices, usual, open, moment } of model.get("groups")) {
      const said = address.get(key) ?? "", known = open || choices.some(({ value }) => value === said) || (moment && !Number.isNaN(Date.parse(said)));
      if (said && known ? said : usual) query[key] = said && known ? said : usual;
    }
    if (JSON.stringify(query) === JSON.stringify(model.get("query"))) return;
    model.set("query", query);
    model.save_changes();
    paint();
  };
  window.addEventListener("popstate", back);
  model.on("change:groups", paint);
  paint();
  return () => { model.off("change:groups", paint); window.removeEventListener("popstate", back); };
}

export default { render };
