// The knobs of a policy: who is asked in which order, and its numbers. What is turned is a draft; Replay hands it over.

function render({ model, el }) {
  const root = element("form", "tw-knobs");
  el.append(root);
  let draft = null;

  const today = () => model.get("today");
  const numbers = () => model.get("numbers");
  const start = () => {
    const plan = model.get("plan");
    return { order: [...plan.order], numbers: { ...plan.numbers } };
  };
  const value = (knob) => draft.numbers[knob.key] ?? today().numbers[knob.key];
  const changed = () => draft.order.join() !== today().order.join() || numbers().some((knob) => value(knob) !== today().numbers[knob.key]);

  const hand = () => {
    const kept = Object.fromEntries(numbers().map((knob) => [knob.key, value(knob)]).filter(([key, now]) => now !== today().numbers[key]));
    const order = draft.order.join(","), keys = numbers().map((knob) => knob.key);
    writeAddress([...keys, "order"], { ...kept, order: order === today().order.join(",") ? "" : order });
    model.set("plan", { order: draft.order, numbers: kept });
    model.save_changes();
  };

  const row = (name, place, color) => {
    const node = element("li", place < 0 ? "tw-left-out" : "");
    const swatch = element("i");
    swatch.style.background = color;
    const label = element("label"), box = element("input");
    box.type = "checkbox";
    box.checked = place >= 0;
    box.onchange = () => { draft.order = box.checked ? [...draft.order, name] : draft.order.filter((one) => one !== name); paint(`ask ${name}`); };
    box.ariaLabel = `ask ${name}`;
    label.append(box, swatch, element("b", "", name), element("span", "tw-muted", place < 0 ? "not asked" : place === 0 ? "first" : ""));
    node.append(label);
    const move = (by, word, sign) => {
      const arrow = button("tw-move", sign, () => {
        const other = place + by;
        [draft.order[place], draft.order[other]] = [draft.order[other], draft.order[place]];
        paint(arrow.ariaLabel);
      });
      arrow.ariaLabel = `${name} ${word}`;
      arrow.disabled = place < 0 || place + by < 0 || place + by >= draft.order.length;
      return arrow;
    };
    node.append(move(-1, "sooner", "↑"), move(1, "later", "↓"));
    return node;
  };
  const knob = (spec) => {
    const node = element("label", "tw-knob"), input = element("input"), said = element("output");
    const show = () => {
      const now = value(spec), same = now === today().numbers[spec.key];
      said.textContent = spec.switch ? (now ? "on" : "off") : `${+(+now).toPrecision(4)}${spec.unit}`;
      node.classList.toggle("tw-turned", !same);
      was.textContent = same ? "" : `today ${spec.switch ? (today().numbers[spec.key] ? "on" : "off") : today().numbers[spec.key] + spec.unit}`;
    };
    const was = element("small", "tw-muted");
    input.ariaLabel = spec.word;
    input.dataset.knob = spec.key;
    if (spec.switch) {
      input.type = "checkbox";
      input.checked = value(spec);
      input.onchange = () => { draft.numbers[spec.key] = input.checked; show(); foot(); };
    } else {
      input.type = "range";
      // Steps of times grow with the times, so that a slider is as fine at a second as at ten minutes.
      input.min = 0; input.max = spec.steps.length - 1; input.step = 1;
      const nearest = spec.steps.reduce((best, step, place) => (Math.abs(step - value(spec)) < Math.abs(spec.steps[best] - value(spec)) ? place : best), 0);
      input.value = nearest;
      input.oninput = () => { draft.numbers[spec.key] = spec.steps[+input.value]; show(); foot(); };
      said.htmlFor = "";
    }
    node.title = spec.hint;
    node.append(element("span", "tw-knob-word", spec.word), said, input, was);
    show();
    return node;
  };
  const buttons = element("div", "tw-knob-buttons");
  const go = button("tw-replay", "Replay this policy", hand), back = button("tw-back", "Back to today's", () => { draft = { order: [...today().order], numbers: {} }; paint(); hand(); });
  const hint = element("span", "tw-muted", "");
  const foot = () => {
    const plan = model.get("plan");
    const done = JSON.stringify([plan.order, numbers().map((one) => plan.numbers[one.key] ?? today().numbers[one.key])]) === JSON.stringify([draft.order, numbers().map(value)]);
    go.disabled = done || !draft.order.length;
    back.hidden = !changed();
    hint.textContent = !draft.order.length ? "Somebody has to be asked." : done ? (changed() ? "Replayed below." : "This is today's policy. Turn something.") : "Ctrl-Enter replays.";
  };
  const paint = (focus) => {
    const colors = Object.fromEntries(model.get("providers")), out = model.get("providers").map(([name]) => name).filter((name) => !draft.order.includes(name));
    const order = element("ol", "tw-order");
    order.append(...draft.order.map((name, place) => row(name, place, colors[name] ?? "transparent")), ...out.map((name) => row(name, -1, colors[name])));
    const first = element("fieldset"), second = element("fieldset", "tw-knob-set");
    first.append(element("legend", "", "Asked in this order"), order);
    second.append(element("legend", "", "Limits and breakers"), ...numbers().map(knob));
    buttons.replaceChildren(go, back, hint);
    root.replaceChildren(first, second, buttons);
    foot();
    if (focus) [...root.querySelectorAll("button, input")].find((one) => one.ariaLabel === focus)?.focus();
  };
  root.onsubmit = (event) => event.preventDefault();
  root.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !go.disabled) { event.preventDefault(); hand(); } };
  const again = () => { draft = start(); paint(); };
  const handed = () => foot();
  model.on("change:today", again);
  model.on("change:plan", handed);
  again();
  return () => { model.off("change:today", again); model.off("change:plan", handed); };
}

export default { render };
