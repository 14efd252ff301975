// What the reader asks of the log: words, a stretch of time, facets, saved views and exports. The query lives in the address.

const RANGES = [["", "all time"], ["15m", "last 15 minutes"], ["1h", "last hour"], ["24h", "last 24 hours"], ["7d", "last 7 days"], ["30d", "last 30 days"]];
const KEYS = ["text", "range", "since", "until", "family", "type", "agent", "source", "provider", "task", "trace", "by"];
const GROUPS = ["family", "type", "agent", "source", "provider", "task"];
const FEW = { family: 16, type: 6, agent: 4, source: 4, provider: 5, task: 3 };
const FORMATS = [["csv", "CSV", "for a spreadsheet"], ["jsonl", "JSON lines", "can be imported again"], ["parquet", "Parquet", "for polars, DuckDB and others"], ["notebook", "Notebook", "the same query as a marimo file"]];
const DOT = "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4z";
const number = (value) => value.toLocaleString("en-US");

function icon(path, color) {
  const span = element("span", "tw-ask-icon");
  span.style.color = color;
  span.innerHTML = `<svg width="14" height="14" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="${path}"></path></svg>`;
  return span;
}

function shortTime(text) {
  const moment = new Date(text);
  if (Number.isNaN(moment.getTime())) return text;
  const today = moment.toDateString() === new Date(present()).toDateString();
  const day = today ? "" : `${moment.toLocaleDateString([], { day: "numeric", month: "short" })} `;
  return day + moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: moment.getSeconds() ? "2-digit" : undefined, hour12: false });
}

function fromAddress() {
  const asked = new URLSearchParams(location.search);
  return Object.fromEntries(KEYS.filter((key) => asked.get(key)).map((key) => [key, asked.get(key)]));
}

class Asking {
  constructor(model, root) {
    Object.assign(this, { model, root, expanded: new Set() });
    this.build();
    this.listen();
    this.paint();
  }
  get query() { return this.model.get("query"); }

  // The one place where the query changes: the address, the kernel and what is shown follow together.
  ask(changes, { replace = false } = {}) {
    const merged = { ...this.query, ...changes };
    if (changes.range !== undefined) { delete merged.since; delete merged.until; }
    if ("since" in changes || "until" in changes) delete merged.range;
    const next = Object.fromEntries(KEYS.filter((key) => merged[key]).map((key) => [key, merged[key]]));
    if (JSON.stringify(next) === JSON.stringify(this.query)) return;
    writeAddress(KEYS, next, { push: !replace });
    this.set(next);
  }
  set(query) {
    this.model.set("query", query);
    this.model.save_changes();
    this.paint();
  }
  build() {
    this.root.className = "tw-ask";
    const line = element("div", "tw-ask-line");
    this.words = element("input", "tw-ask-text");
    Object.assign(this.words, { type: "search", placeholder: "Search words in events", ariaLabel: "search words in events", spellcheck: false });
    this.words.onchange = () => this.ask({ text: this.words.value.trim() });
    this.words.onkeydown = (event) => { if (event.key === "Enter") this.ask({ text: this.words.value.trim() }); };
    this.range = element("select", "tw-ask-range"); this.range.ariaLabel = "time";
    for (const [value, word] of [...RANGES, ["custom", "from … to …"]]) this.range.append(new Option(word, value));
    this.range.onchange = () => { if (this.range.value === "custom") { this.custom.hidden = false; this.from.focus(); } else this.ask({ range: this.range.value }); };
    line.append(this.words, this.range, this.menu("Views", "saved views", (box) => this.fillViews(box)), this.menu("Export", "export what is shown", (box) => this.fillExports(box)), button("tw-ask-again", "Look again", () => this.again()));
    this.custom = element("div", "tw-ask-custom"); this.custom.hidden = true;
    this.from = element("input"); this.to = element("input");
    for (const [input, word] of [[this.from, "from"], [this.to, "to"]]) {
      Object.assign(input, { type: "datetime-local", ariaLabel: word });
      const label = element("label", "", word); label.append(input); this.custom.append(label);
    }
    this.custom.append(button("tw-ask-go", "Show", () => this.customAsked()), element("span", "tw-muted", `in ${Intl.DateTimeFormat().resolvedOptions().timeZone}`));
    this.on = element("div", "tw-ask-on");
    this.facets = element("div", "tw-facets");
    this.fold = element("details", "tw-ask-fold"); this.fold.open = !matchMedia("(max-width: 700px)").matches;
    this.folded = element("summary", "", "Filters"); this.fold.append(this.folded, this.facets);
    this.said = element("p", "tw-ask-said"); this.said.setAttribute("role", "status"); this.said.hidden = true;
    this.root.append(line, this.custom, this.said, this.on, this.fold);
  }
  customAsked() {
    const [since, until] = [this.from.value, this.to.value].map((value) => (value ? new Date(value).toISOString() : ""));
    this.custom.hidden = true;
    this.ask({ since, until });
  }
  menu(word, title, fill) {
    const holder = element("details", "tw-ask-menu"), box = element("div", "tw-ask-box"), summary = element("summary", "", word);
    summary.title = title;
    holder.append(summary, box);
    holder.ontoggle = () => { if (holder.open) { for (const other of this.root.querySelectorAll(".tw-ask-menu")) if (other !== holder) other.open = false; fill(box); } };
    return holder;
  }
  fillViews(box) {
    const list = this.model.get("views"), rows = list.map((view) => {
      const row = element("div", "tw-ask-view");
      const open = button("", view.name, () => { this.close(); this.replaceWith(view.query); });
      open.title = Object.entries(view.query).map(([key, value]) => `${key} ${value}`).join(", ") || "everything";
      const gone = button("tw-x", "✕", () => this.model.send({ kind: "delete-view", name: view.name }));
      gone.ariaLabel = `delete the view ${view.name}`;
      row.append(open, gone);
      return row;
    });
    const form = element("form", "tw-ask-save"), name = element("input");
    Object.assign(name, { placeholder: "name of this view", maxLength: 60, ariaLabel: "name of this view" });
    const save = element("button", "tw-ask-go", "Save"); save.type = "submit";
    form.append(name, save);
    form.onsubmit = (event) => { event.preventDefault(); if (name.value.trim()) this.model.send({ kind: "save-view", name: name.value.trim(), query: this.query }); };
    const none = list.length ? [] : [element("p", "tw-muted", "No view is saved yet. Choose filters, then give them a name.")];
    box.replaceChildren(...none, ...rows, form);
  }
  fillExports(box) {
    const rows = FORMATS.map(([format, word, why]) => {
      const row = button("tw-ask-format", "", () => { this.close(); this.saving = []; this.say(`Preparing ${word} …`); this.model.send({ kind: "export", format, query: this.query }); });
      row.append(element("b", "", word), element("span", "tw-muted", why));
      return row;
    });
    box.replaceChildren(...rows);
  }
  close() { for (const menu of this.root.querySelectorAll(".tw-ask-menu")) menu.open = false; }
  replaceWith(query) { this.ask({ ...Object.fromEntries(KEYS.map((key) => [key, ""])), ...query }); }
  again() { this.model.set("again", this.model.get("again") + 1); this.model.save_changes(); }
  say(words) { this.said.hidden = !words; this.said.textContent = words; }

  paint() {
    const query = this.query;
    if (this.root.getRootNode().activeElement !== this.words) this.words.value = query.text ?? "";
    this.range.value = query.since || query.until ? "custom" : query.range ?? "";
    this.from.value = localTime(query.since); this.to.value = localTime(query.until);
    this.paintOn(query);
    this.paintFacets(query);
  }
  // The filters that hold, each with its ✕; one line that can be read aloud.
  paintOn(query) {
    const chips = [];
    const add = (name, shown, changes, whole) => {
      const chip = button("tw-on", "", () => this.ask(changes));
      chip.append(element("span", "tw-muted", name), element("b", "", shown), element("span", "tw-x", "✕"));
      chip.title = whole ?? shown; chip.ariaLabel = `${name} ${shown}: remove this filter`;
      chips.push(chip);
    };
    if (query.text) add("words", query.text, { text: "" });
    if (query.since || query.until) add("time", `${query.since ? shortTime(query.since) : "…"} – ${query.until ? shortTime(query.until) : "now"}`, { since: "", until: "" });
    else if (query.range) add("time", RANGES.find(([key]) => key === query.range)?.[1] ?? query.range, { range: "" });
    for (const name of [...GROUPS, "trace"]) if (query[name]) add(name, name === "trace" && query[name].length > 14 ? `…${query[name].slice(-8)}` : query[name], { [name]: "" }, query[name]);
    if (chips.length > 1) chips.push(button("tw-clear", "clear all", () => this.replaceWith({ by: query.by ?? "" })));
    this.on.replaceChildren(...chips);
    this.folded.textContent = chips.length ? `Filters · ${chips.filter((chip) => chip.className === "tw-on").length} set` : "Filters";
  }
  paintFacets(query) {
    const facets = this.model.get("facets"), looks = this.model.get("families");
    const groups = GROUPS.filter((name) => facets[name]?.length || query[name]).map((name) => {
      const values = [...(facets[name] ?? [])];
      if (query[name] && !values.some(([value]) => value === query[name])) values.unshift([query[name], 0]);
      const few = FEW[name], all = this.expanded.has(name);
      const row = element("div", `tw-facet tw-facet-${name}`), chips = element("div", "tw-facet-chips");
      row.setAttribute("role", "group"); row.ariaLabel = name;
      for (const [value, count] of all ? values : values.filter(([one], place) => place < few || one === query[name])) {
        const chip = button("tw-facet-chip", "", () => this.ask({ [name]: query[name] === value ? "" : value }));
        chip.setAttribute("aria-pressed", String(query[name] === value));
        const look = looks[name === "family" ? value : name === "type" ? value.split(".")[0] : ""];
        if (look) chip.append(icon(look.path || DOT, look.color));
        const shown = element("span", "tw-facet-word", value); chip.title = value;
        chip.append(shown, element("b", "", number(count)));
        chips.append(chip);
      }
      if (values.length > few) chips.append(button("tw-facet-more", all ? "fewer" : `+${values.length - few} more`, () => { if (!this.expanded.delete(name)) this.expanded.add(name); this.paint(); }));
      row.append(element("span", "tw-facet-name", name), chips);
      return row;
    });
    this.facets.replaceChildren(...groups);
  }
  listen() {
    const { model } = this;
    model.on("change:facets", () => this.paint());
    model.on("change:views", () => { const box = this.root.querySelector(".tw-ask-menu[open] .tw-ask-box"); if (box?.querySelector(".tw-ask-save")) this.fillViews(box); });
    this.custom_ = (message, buffers) => this.told(message, buffers);
    model.on("msg:custom", this.custom_);
    this.brush = new Brush(model, (stretch, options) => this.ask(stretch, options));
    this.back = () => { this.brush.leave(); this.set(fromAddress()); };
    this.twice = (event) => { if (event.composedPath().some((node) => node.localName === "marimo-vega")) { this.brush.leave(); this.ask({ since: "", until: "" }); } };
    this.outside = (event) => { if (!event.composedPath().includes(this.root)) this.close(); };
    this.deaf = heeded("ask", (by) => this.ask(JSON.parse(by.dataset.ask)));
    window.addEventListener("popstate", this.back);
    document.addEventListener("dblclick", this.twice, true);
    document.addEventListener("click", this.outside);
  }
  told(message, buffers) {
    if (message.kind === "said") this.say(message.words);
    if (message.kind === "chunk") { this.saving.push(buffers[0]); this.say(message.words); }
    if (message.kind === "file") {
      const link = element("a");
      link.href = URL.createObjectURL(new Blob(this.saving ?? [], { type: message.type }));
      link.download = message.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
      this.saving = [];
      this.say(message.words);
    }
  }
  end() {
    this.model.off("msg:custom", this.custom_);
    window.removeEventListener("popstate", this.back);
    document.removeEventListener("dblclick", this.twice, true);
    document.removeEventListener("click", this.outside);
    this.deaf(); this.brush.end();
  }
}

export default { render: rendering(Asking) };
