// Buttons that carry data-keep, wherever they are drawn: what goes is shown before it goes, what is written is asked for, what came of it is said.

const SHOWN_MS = 12000;

function labelled(word, field, hint) {
  const label = element("label", "tw-field");
  label.append(element("span", "", word), field);
  if (hint) label.append(element("small", "tw-muted", hint));
  return label;
}

function render({ model, el }) {
  const root = element("div", "tw-hands"), dialog = element("dialog", "tw-sure"), said = element("div", "tw-said");
  said.setAttribute("role", "status");
  said.hidden = true;
  root.append(dialog, said);
  el.append(root);
  let hiding = null;

  const say = (state, words, undo, percent) => {
    clearTimeout(hiding);
    const pieces = [element("span", "tw-said-words", words)];
    if (undo) pieces.push(button("tw-undo", undo.word ?? "Undo", () => send(undo)));
    const shut = button("tw-shut", "✕", () => { said.hidden = true; });
    shut.ariaLabel = "close this message";
    if (percent === undefined) pieces.push(shut);
    else {
      const bar = element("progress", "tw-said-bar"); bar.max = 100; bar.value = percent; bar.ariaLabel = words;
      pieces.push(bar, button("tw-undo", "Stop", () => model.send({ action: "stop" })));
    }
    said.replaceChildren(...pieces);
    said.dataset.state = state;
    said.hidden = false;
    if (state !== "wait") hiding = setTimeout(() => { said.hidden = true; }, state === "bad" ? 3 * SHOWN_MS : SHOWN_MS);
  };
  const send = (order) => { say("wait", order.action === "install" ? "Beginning to fetch the model …" : "One moment …"); model.send(order); };

  // The safe answer has the focus, and Escape is one; what is done stands away from it.
  const show = (title, pieces, word, go, { danger = false, focus = null } = {}) => {
    const row = element("div", "tw-sure-row"), keep = button("tw-keep", go ? "Leave it as it is" : "Close", () => dialog.close());
    const does = go ? button(danger ? "tw-go" : "tw-go tw-fine", word, () => { if (go() !== false) dialog.close(); }) : null;
    row.append(...(does ? [does] : []), keep);
    dialog.replaceChildren(element("h2", "", title), ...pieces, row, ...(does ? [element("p", "tw-keys", "Ctrl-Enter does it, Esc leaves it.")] : []));
    dialog.onkeydown = (event) => { if (does && event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); does.click(); } };
    dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
    if (!dialog.open) dialog.showModal();
    (focus ?? keep).focus();
  };
  const write = ({ title, word, entry, order }) => {
    const text = element("textarea", "tw-write"), subject = element("input", "tw-write");
    Object.assign(text, { value: entry.text ?? "", rows: 4, ariaLabel: "what to remember", placeholder: "One plain sentence, such as: My sister Ann lives in Graz." });
    Object.assign(subject, { value: entry.subject ?? "", ariaLabel: "about", placeholder: "home of my sister" });
    const fields = [labelled("text", text)];
    if (entry.kind === "fact") fields.push(labelled("about (may be empty)", subject, "What it says the one value of. A newer fact about the same ends the older one."));
    const go = () => {
      if (!text.value.trim()) { text.focus(); return false; }
      const same = entry.subject ?? "";
      send({ ...order, ...(text.value !== entry.text ? { text: text.value } : {}), ...(subject.value.trim() !== same ? { subject: subject.value } : {}) });
      return true;
    };
    show(title, fields, word, go, { focus: text });
  };

  const asked = (order) => {
    if (order.action === "forget" && !order.sure) model.send({ ...order, action: "preview" });
    else if (order.action === "edit") model.send({ ...order, action: "fetch" });
    else if (order.action === "remember") write({ title: "Remember a fact", word: "Remember", entry: { kind: "fact" }, order });
    else send(order);
  };
  const click = (event) => {
    const path = event.composedPath().filter((node) => node.dataset);
    const found = path.find((node) => node.dataset.keep);
    if (found) { event.preventDefault(); asked(JSON.parse(found.dataset.keep)); }
  };
  const told = (message) => {
    if (message.kind === "preview") {
      const body = element("div", "tw-preview"); body.innerHTML = message.html;
      show(message.title, [body], message.button, message.go ? () => { send(message.go); } : null, { danger: true });
    } else if (message.kind === "fetched") {
      write({ title: `Edit this ${message.entry.kind}`, word: "Save", entry: message.entry, order: { action: "edit", id: message.entry.id } });
    } else if (message.kind === "progress") say("wait", message.words, null, message.percent);
    else if (message.kind === "said") {
      say(message.state, message.words, message.undo);
      // The page is drawn anew at once, without waiting for the event to come by.
      model.set("done", model.get("done") + 1);
      model.save_changes();
    }
  };
  document.addEventListener("click", click);
  model.on("msg:custom", told);
  return () => {
    document.removeEventListener("click", click);
    model.off("msg:custom", told);
    clearTimeout(hiding);
  };
}

export default { render };
