// A prompt, who is to answer it, and the answer as it comes; what it took stands below.

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// Bold words and commands of an answer, as nodes: what a model wrote is never taken for HTML.
function rich(text) {
  return text.replace(/\[([^\]\n]+)\]\((https?:[^)\s]+)\)/g, "$1 ($2)").split(/(\*\*[^*\n]+\*\*|`[^`\n]+`)/).map((piece) => {
    if (/^\*\*.+\*\*$/.test(piece)) return element("b", "", piece.slice(2, -2));
    return /^`.+`$/.test(piece) ? element("code", "", piece.slice(1, -1)) : piece;
  });
}

function render({ model, el }) {
  const root = element("form", "tw-try"), prompt = element("textarea", "tw-try-prompt"), line = element("div", "tw-try-line");
  Object.assign(prompt, { rows: 2, placeholder: "Ask something to see who answers, and what it takes", ariaLabel: "prompt" });
  const through = element("select", "tw-try-through"); through.ariaLabel = "through which provider";
  const local = element("input"), label = element("label", "tw-try-local");
  local.type = "checkbox";
  label.append(local, element("span", "", "local only"));
  label.title = "nothing of it leaves this machine";
  const go = element("button", "tw-try-go", "Ask"); go.type = "submit"; go.title = "Ctrl-Enter";
  const stop = element("button", "tw-try-stop", "Stop"); stop.type = "button"; stop.hidden = true;
  line.append(through, label, stop, go);
  const answer = element("div", "tw-try-answer"), below = element("div", "tw-try-below");
  answer.setAttribute("aria-live", "polite"); answer.hidden = true;
  root.append(element("h2", "", "Try it"), prompt, line, answer, below);
  el.append(root);

  const offer = () => {
    const chosen = through.value;
    through.replaceChildren(new Option("the cascade, in its order", ""), ...model.get("providers").map(([name, model_]) => new Option(`only ${name} (${model_})`, name)));
    through.value = [...through.options].some((option) => option.value === chosen) ? chosen : "";
  };
  const busy = (yes) => { go.disabled = yes; stop.hidden = !yes; root.dataset.busy = yes; };
  const ask = () => {
    if (!prompt.value.trim() || go.disabled) { prompt.focus(); return; }
    busy(true);
    answer.hidden = false; answer.replaceChildren(); below.replaceChildren();
    model.send({ kind: "ask", prompt: prompt.value, provider: through.value, local_only: local.checked });
  };
  const ended = (state) => { busy(false); answer.dataset.state = state; };
  const told = (message) => {
    if (!go.disabled) return; // it was stopped meanwhile
    answer.dataset.state = "";
    if (message.kind === "text") answer.append(message.text);
    if (message.kind === "switch") {
      if (!message.continues) answer.replaceChildren();
      answer.append(element("span", "tw-try-switch", message.words));
    }
    if (message.kind === "failed") { answer.append(element("span", "tw-try-bad", message.words)); ended("bad"); }
    if (message.kind === "done") {
      const notes = [...answer.querySelectorAll(".tw-try-switch")];
      answer.replaceChildren(...notes, ...rich(message.text));
      below.innerHTML = message.html;
      ended("done");
      model.set("done", model.get("done") + 1);
      model.save_changes();
    }
  };
  root.onsubmit = (event) => { event.preventDefault(); ask(); };
  prompt.onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); } };
  stop.onclick = () => {
    model.send({ kind: "stop" });
    answer.append(element("span", "tw-try-switch", "Stopped; the provider\u2019s call was ended."));
    ended("stopped");
  };
  model.on("msg:custom", told);
  model.on("change:providers", offer);
  offer();
  return () => { model.off("msg:custom", told); model.off("change:providers", offer); };
}

export default { render };
