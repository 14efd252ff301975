// Groups of choices as buttons, and moments as inputs, that stand in the page's address.

function render({ model, el }) {
  const root = element("div", "tw-choose tw-chips");
  el.append(root);

  const choose = (key, value) => {
    const query = { ...model.get("query") };
    const usual = model.get("groups").find((group) => group.key === key)?.usual ?? "";
    if (value) query[key] = value; else delete query[key];
    writeAddress([key], { [key]: value === usual ? "" : value });
    model.set("query", query);
    model.save_changes();
    paint();
  };
  const chip = (group, { value, text, color }) => {
    const pressed = (model.get("query")[group.key] ?? group.usual) === value;
    const node = button("", text, () => choose(group.key, value));
    node.setAttribute("aria-pressed", pressed);
    if (color) {
      const swatch = element("i");
      swatch.style.background = color;
      node.prepend(swatch);
    }
    return node;
  };
  // A moment is typed and shown in the reader's own zone, and stands in the address with its zone.
  const moment = (group) => {
    const input = element("input"), iso = model.get("query")[group.key];
    input.type = "datetime-local";
    input.ariaLabel = group.word;
    if (iso) {
      const at = new Date(iso);
      if (!Number.isNaN(at.getTime())) input.value = new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
    }
    input.onchange = () => choose(group.key, input.value ? new Date(input.value).toISOString() : "");
    return input;
  };
  const paint = () => {
    const had = root.getRootNode().activeElement, word = had?.textContent;
    root.replaceChildren(...model.get("groups").filter((group) => group.moment || group.choices.length > 1).map((group) => {
      const node = element("div", "tw-choose-group");
      node.setAttribute("role", "group");
      node.ariaLabel = group.word;
      node.append(element("span", "tw-choose-word", group.word), ...(group.moment ? [moment(group)] : group.choices.map((choice) => chip(group, choice))));
      return node;
    }));
    if (word) [...root.querySelectorAll("button")].find((one) => one.textContent === word)?.focus();
  };
  model.on("change:groups", paint);
  paint();
  return () => model.off("change:groups", paint);
}

export default { render };
