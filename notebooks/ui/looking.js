// Over how many days the page looks, and as of which moment it counts; both stand in the address.

function group(word, nodes) {
  const node = element("div", "tw-choose-group");
  node.setAttribute("role", "group");
  node.ariaLabel = word;
  node.append(...nodes);
  return node;
}

// A moment as the reader's own clock shows it, which is what the browser's field takes.
function local(iso) {
  const moment = new Date(iso);
  return new Date(moment.getTime() - moment.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
}

function render({ model, el }) {
  const root = element("div", "tw-choose tw-looking");
  el.append(root);
  const choose = (changes) => {
    const query = Object.fromEntries(Object.entries({ ...model.get("query"), ...changes }).filter(([, value]) => value));
    const usual = model.get("usual");
    writeAddress(["range", "at"], Object.fromEntries(Object.entries(query).filter(([, value]) => value !== usual)));
    model.set("query", query);
    model.save_changes();
    paint();
  };
  const field = Object.assign(element("input", "tw-at"), { type: "datetime-local", ariaLabel: "balance as of" });
  field.onchange = () => choose({ at: field.value ? new Date(field.value).toISOString() : "" });
  const paint = () => {
    const query = model.get("query");
    field.value = query.at ? local(query.at) : "";
    field.max = local(new Date(present()));
    const now = button("", "now", () => choose({ at: "" }));
    now.ariaPressed = String(!query.at);
    const ranges = model.get("ranges").map(([key, words]) => {
      const one = button("", words, () => choose({ range: key }));
      one.ariaPressed = String(query.range === key);
      return one;
    });
    root.replaceChildren(group("balance as of", [element("span", "tw-muted", "balance as of"), now, field]), group("days", [element("span", "tw-muted", "the last"), ...ranges]));
  };
  paint();
}

export default { render };
