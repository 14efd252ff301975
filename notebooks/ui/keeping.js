// Buttons that carry data-keep, wherever they are drawn: what goes is shown before it goes, what is written is asked for, what came of it is said.

function render({ model, el }) {
  const hands = handsOf(el);
  const say = (state, words, undo) => hands.say(state, words, undo ? { word: undo.word ?? "Undo", does: () => send(undo) } : {});
  const send = (order) => { say("wait", order.action === "install" ? "Beginning to fetch the model …" : "One moment …"); model.send(order); };
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
    hands.show(title, fields, { word, go, focus: text });
  };

  const asked = (order) => {
    if (order.action === "forget" && !order.sure) model.send({ ...order, action: "preview" });
    else if (order.action === "edit") model.send({ ...order, action: "fetch" });
    else if (order.action === "remember") write({ title: "Remember a fact", word: "Remember", entry: { kind: "fact" }, order });
    else send(order);
  };
  const told = (message) => {
    if (message.kind === "preview") {
      const body = element("div", "tw-preview"); body.innerHTML = message.html;
      hands.show(message.title, [body], { word: message.button, go: message.go ? () => { send(message.go); } : null, danger: true });
    } else if (message.kind === "fetched") {
      write({ title: `Edit this ${message.entry.kind}`, word: "Save", entry: message.entry, order: { action: "edit", id: message.entry.id } });
    } else if (message.kind === "progress") hands.say("wait", message.words, { percent: message.percent, word: "Stop", does: () => model.send({ action: "stop" }) });
    else if (message.kind === "said") {
      say(message.state, message.words, message.undo);
      // The page is drawn anew at once, without waiting for the event to come by.
      model.set("done", model.get("done") + 1);
      model.save_changes();
    }
  };
  const deaf = heeded("keep", (found) => asked(JSON.parse(found.dataset.keep)));
  model.on("msg:custom", told);
  return () => {
    deaf();
    model.off("msg:custom", told);
    hands.end();
  };
}

export default { render };
