// Files into memory, one after the other and in pieces; and memory into a file.

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

class Carrying {
  constructor(model, root) {
    Object.assign(this, { model, root, queue: [], current: null, saving: [] });
    this.build();
    this.came = (message, buffers) => this.told(message, buffers);
    model.on("msg:custom", this.came);
  }
  build() {
    this.root.className = "tw-carry";
    this.input = element("input", "tw-file");
    Object.assign(this.input, { type: "file", multiple: true, accept: this.model.get("suffixes").join(","), ariaLabel: "files to import" });
    this.input.onchange = () => { this.add([...this.input.files]); this.input.value = ""; };
    const drop = element("div", "tw-drop"), word = element("p", "");
    word.append(element("b", "", "Drop files here"), " or ", button("tw-choose-files", "choose some", () => this.input.click()));
    drop.append(word, element("p", "tw-muted", "Markdown and text become documents, ChatGPT's export (its zip, or conversations.json) conversations, JSON lines what they were. The same file again brings nothing twice."), this.input);
    drop.ondragover = (event) => { event.preventDefault(); drop.dataset.over = "true"; };
    drop.ondragleave = () => { delete drop.dataset.over; };
    drop.ondrop = (event) => { event.preventDefault(); delete drop.dataset.over; this.add([...event.dataTransfer.files]); };
    this.format = element("select", "tw-format"); this.format.ariaLabel = "format";
    this.format.append(new Option("format by the file's name", ""), ...this.model.get("formats").map((name) => new Option(name, name)));
    const row = element("div", "tw-carry-row");
    row.append(this.format, button("tw-save", "Export all as JSON lines", () => { this.saving = []; this.say("wait", "Preparing …"); this.model.send({ kind: "export", query: {} }); }));
    this.said = element("div", "tw-carry-said"); this.said.setAttribute("role", "status"); this.said.hidden = true;
    this.root.append(drop, row, this.said);
  }
  say(state, words, { problems = [], percent, stop } = {}) {
    const pieces = [element("span", "", words)];
    if (percent !== undefined) { const bar = element("progress"); bar.max = 100; bar.value = percent; bar.ariaLabel = words; pieces.push(bar); }
    if (stop) pieces.push(button("tw-stop", "Stop", () => { this.queue = []; this.model.send({ kind: "stop" }); }));
    if (problems.length) { const list = element("ul"); list.append(...problems.map((problem) => element("li", "", problem))); pieces.push(list); }
    this.said.replaceChildren(...pieces);
    this.said.dataset.state = state; this.said.hidden = false;
  }
  add(files) { this.queue.push(...files); if (!this.current) this.next(); }
  async next() {
    const file = this.queue.shift();
    this.current = file ?? null;
    if (!file) return;
    if (file.size > this.model.get("max_bytes")) {
      this.say("bad", `${file.name} is too large for the page; use the command: timmy memory import ${file.name}`);
      this.next();
      return;
    }
    this.bytes = new Uint8Array(await file.arrayBuffer()); this.at = 0;
    this.model.send({ kind: "begin", name: file.name });
    this.piece();
  }
  // One piece at a time: the next goes when the one before has come.
  piece() {
    const size = this.model.get("piece"), total = this.bytes.length;
    if (this.at >= total) { this.model.send({ kind: "end", format: this.format.value, written: this.current.lastModified }); this.say("wait", `Reading ${this.current.name} …`, { stop: true }); return; }
    const part = this.bytes.subarray(this.at, this.at + size);
    this.at += part.length;
    this.say("wait", `Bringing ${this.current.name} …`, { percent: (50 * this.at) / total });
    this.model.send({ kind: "piece", data: base64(part) });
  }
  told(message, buffers) {
    if (message.kind === "got") this.piece();
    else if (message.kind === "progress") this.say("wait", message.words, { percent: message.percent, stop: true });
    else if (message.kind === "taken") {
      this.say(message.state, message.words, message);
      this.model.set("done", this.model.get("done") + 1);
      this.model.save_changes();
      this.next();
    } else if (message.kind === "chunk") { this.saving.push(...buffers); if (message.words) this.say("wait", message.words); }
    else if (message.kind === "file") this.save(message);
  }
  save({ name, words }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(this.saving, { type: "application/x-ndjson" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    this.saving = [];
    this.say("good", `${words} as ${name}`);
  }
  end() { this.model.off("msg:custom", this.came); }
}

export default { render: rendering(Carrying) };
