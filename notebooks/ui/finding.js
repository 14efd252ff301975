// What the reader looks for in memory: found as it is typed, with the words marked and every score explained. The query lives in the address.

const KEYS = ["text", "kind", "agent", "session", "range", "since", "until", "entry"];
const WAIT_MS = 160;
const SNIPPET = 340;

function keeps(className, text, order) {
  const node = button(className, text);
  node.dataset.keep = JSON.stringify(order);
  return node;
}

// Endings are cut by the search, so a word is the same as one that begins alike and is about as long.
function same(token, words) {
  const low = token.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, "");
  return words.some((word) => {
    if (low === word) return true;
    let at = 0;
    while (at < low.length && low[at] === word[at]) at += 1;
    return at >= 3 && at >= Math.max(low.length, word.length) - 3 && at >= Math.min(low.length, word.length) - 1;
  });
}

function marked(text, words) {
  const pieces = [], plain = words.map((word) => word.toLowerCase().normalize("NFKD").replace(/\p{M}/gu, ""));
  if (!plain.length) return { pieces: [text], first: -1 };
  let last = 0, first = -1;
  for (const match of text.matchAll(/[\p{L}\p{N}]+/gu)) {
    if (!same(match[0], plain)) continue;
    if (first < 0) first = match.index;
    pieces.push(text.slice(last, match.index), element("mark", "", match[0]));
    last = match.index + match[0].length;
  }
  pieces.push(text.slice(last));
  return { pieces, first };
}

// In one paragraph the signs of Markdown only disturb; the whole entry is shown as it is.
const plain = ({ kind, text }) => (kind === "document" ? text.replace(/^\s{0,3}#{1,6}\s+(.*)$/gm, "$1.").replace(/\*\*|`/g, "") : text);

function snippet(text, words) {
  const { first } = marked(text, words);
  if (text.length <= SNIPPET) return marked(text, words).pieces;
  const start = first > 120 ? text.indexOf(" ", first - 90) + 1 : 0;
  const end = Math.min(text.length, start + SNIPPET);
  return [start ? "… " : "", ...marked(text.slice(start, end), words).pieces, end < text.length ? " …" : ""];
}

class Finding extends Sought {
  constructor(model, root) {
    super(model, root, KEYS, WAIT_MS);
    Object.assign(this, { shown: 0, openId: null });
    this.begin();
  }
  ask(changes, { replace = true } = {}) {
    const merged = { ...this.query, ...changes };
    if (!("entry" in changes)) delete merged.entry;
    if (changes.range !== undefined) { delete merged.since; delete merged.until; }
    if ("since" in changes || "until" in changes) delete merged.range;
    if (this.wish(merged, replace)) this.find();
  }
  build() {
    this.root.className = "tw-seek";
    const line = element("div", "tw-seek-line");
    this.words = element("input", "tw-seek-text");
    Object.assign(this.words, { type: "search", placeholder: "Search what Timmy remembers", ariaLabel: "search what Timmy remembers", spellcheck: false, value: this.query.text ?? "" });
    this.words.oninput = () => this.typed(() => ({ text: this.words.value.trim() }));
    this.words.onkeydown = (event) => {
      if (event.key === "Enter") { clearTimeout(this.waiting); this.ask({ text: this.words.value.trim() }, { replace: false }); }
      if (event.key === "ArrowDown") { event.preventDefault(); this.list.querySelector(".tw-hit-head")?.focus(); }
    };
    this.kind = this.select("kind", () => [["", "every kind"], ...Object.keys(this.model.get("kinds")).map((kind) => [kind, `${kind}s`])]);
    this.agent = this.select("agent", () => this.names("agent_id", "every agent", this.query.agent));
    this.session = this.select("session", () => this.names("session", "every session", this.query.session));
    this.range = this.select("range", () => [["", "all time"], ...this.model.get("ranges"), ...(this.query.since || this.query.until ? [["custom", "the chosen stretch"]] : [])]);
    line.append(this.words, this.kind, this.agent, this.session, this.range);
    this.on = element("div", "tw-seek-on");
    this.said = element("p", "tw-seek-said"); this.said.setAttribute("role", "status");
    this.list = element("ol", "tw-hits");
    this.list.onkeydown = (event) => this.key(event);
    this.more = button("tw-more-hits", "Show older ones", () => { this.more.disabled = true; this.model.send({ kind: "more", number: this.asked, query: this.query, cursor: this.cursor }); });
    this.more.hidden = true;
    this.root.append(line, this.on, this.said, this.list, this.more);
  }
  names(column, every, chosen) {
    const names = this.model.get("names")[column] ?? [];
    return [["", every], ...[...new Set([...(chosen ? [chosen] : []), ...names])].map((name) => [name, name])];
  }
  select(key, options) {
    const node = element("select", "tw-seek-pick");
    node.ariaLabel = key === "range" ? "time" : key;
    node.fill = () => {
      node.replaceChildren(...options().map(([value, word]) => new Option(word, value)));
      node.value = key === "range" && (this.query.since || this.query.until) ? "custom" : this.query[key] ?? "";
      node.hidden = node.options.length < 2 && !node.value;
    };
    node.onchange = () => { if (node.value !== "custom") this.ask({ [key]: node.value }, { replace: false }); };
    return node;
  }
  paint() {
    for (const node of [this.kind, this.agent, this.session, this.range]) node.fill();
    const query = this.query;
    if (this.root.getRootNode().activeElement !== this.words) this.words.value = query.text ?? "";
    const chips = [];
    const stretch = query.since || query.until;
    if (query.entry) chips.push(this.chip("entry", `…${query.entry.slice(-8)}`, { entry: "" }));
    if (stretch) chips.push(this.chip("time", `${query.since ? day(new Date(query.since)) : "…"} – ${query.until ? day(new Date(query.until)) : "now"}`, { since: "", until: "" }));
    const where = Object.fromEntries(["kind", "agent", "session", "range", "since", "until"].filter((key) => query[key]).map((key) => [key, query[key]]));
    if (Object.keys(where).length) {
      chips.push(button("tw-clear", "clear filters", () => this.ask({ kind: "", agent: "", session: "", range: "", since: "", until: "" })));
      const forget = keeps("tw-clear tw-danger", "forget these …", { action: "forget", where });
      forget.title = "shows first what would go: everything with these filters, whatever the words are";
      chips.push(forget);
    }
    this.on.replaceChildren(...chips);
  }
  chip(name, shown, changes) {
    const chip = button("tw-on", "", () => this.ask(changes));
    chip.append(element("span", "tw-muted", name), element("b", "", shown), element("span", "tw-x", "✕"));
    chip.ariaLabel = `${name} ${shown}: remove this filter`;
    return chip;
  }
  told(message) {
    if (message.kind === "open") { this.fill(message); return; }
    if (message.number !== this.asked) return;
    if (message.kind === "find") {
      this.root.dataset.busy = "false";
      this.root.dataset.found = message.rows.length;
      this.list.replaceChildren();
      this.say(message);
    }
    this.cursor = message.cursor;
    this.more.hidden = !message.cursor; this.more.disabled = false;
    const best = Math.max(...message.rows.map((row) => row.score ?? 0), 1e-9);
    this.list.append(...message.rows.map((row) => this.hit(row, best)));
    if (this.openId || this.query.entry) {
      const again = [...this.list.children].find((hit) => hit.dataset.id === (this.openId ?? this.query.entry));
      if (again && !again.classList.contains("tw-open")) this.open(again); else if (!again) this.openId = null;
    }
  }
  say({ rows, total, note, problem, took_ms }) {
    const query = this.query, filtered = ["kind", "agent", "session", "range", "since", "until", "entry"].some((key) => query[key]);
    let words = "";
    if (problem) words = problem;
    else if (query.text && !rows.length) words = `Nothing fits “${query.text}”${filtered ? " with these filters" : ""}.${note ? "" : " Fewer words may find more."}`;
    else if (query.text) {
      const took = took_ms < 1000 ? `${Math.max(1, Math.round(took_ms))} ms` : `${(took_ms / 1000).toFixed(1)} s`;
      words = rows.length === 1 ? `One entry fits; found in ${took}` : `The ${rows.length} that fit best, in ${took}; what repeats one above comes later`;
    }
    else if (!rows.length) words = filtered ? "No entry with these filters." : "";
    else words = `${number(total)} ${total === 1 ? "entry" : "entries"}${filtered ? " with these filters" : ""}, newest first`;
    this.said.replaceChildren(words, ...(note ? [element("span", "tw-muted", ` · ${note}`)] : []));
    this.said.dataset.state = problem ? "bad" : "";
    this.said.hidden = !words;
  }
  hit(row, best) {
    const hit = element("li", "tw-hit"), head = element("div", "tw-hit-head");
    hit.dataset.id = row.id;
    head.tabIndex = 0; head.setAttribute("role", "button"); head.ariaExpanded = "false";
    const dot = element("i", "tw-kind"); dot.style.background = this.model.get("kinds")[row.kind] ?? "var(--tw-off)";
    const about = element("div", "tw-hit-about");
    about.append(dot, element("b", "", row.kind));
    const who = [row.speaker, row.title, row.session ? `session ${row.session}` : "", row.passage ? `passage ${row.passage}${row.parts ? ` of ${row.parts}` : ""}` : row.parts ? `${row.parts} passages` : ""].filter(Boolean).join(" · ");
    about.append(element("span", "tw-muted tw-hit-who", who));
    if (row.ended) about.append(element("span", "tw-hit-ended", `held until ${day(new Date(row.ended))}`));
    const when = element("time", "tw-muted", day(new Date(row.ts))); when.title = new Date(row.ts).toLocaleString();
    about.append(when);
    const text = element("p", "tw-hit-text"); text.append(...snippet(plain(row), row.words));
    head.append(about, text);
    if (row.why) head.append(this.why(row, best));
    head.onclick = () => { if (String(getSelection())) return; if (hit.classList.contains("tw-open")) this.shut(hit); else this.open(hit); };
    hit.append(head);
    return hit;
  }
  // A score is a number until one sees of what it is made.
  why(row, best) {
    const why = element("div", "tw-why"), meter = element("span", "tw-why-meter"), fill = element("i");
    fill.style.width = `${Math.max(3, (100 * row.score) / best)}%`;
    meter.append(fill); meter.title = "beside the best one";
    const score = element("span", "tw-why-score", row.score.toFixed(2)); score.title = "the score; higher is better";
    why.append(meter, score);
    for (const { name, value, title } of row.why) {
      const part = element("span", "tw-why-part"); part.title = title;
      part.append(`${name} `, element("b", "", value.toFixed(2)));
      why.append(part);
      if (name === "words" && row.words.length) part.append(element("span", "tw-muted", ` ${row.words.join(", ")}`));
    }
    if (row.words.length && !row.why.some(({ name }) => name === "words")) why.append(element("span", "tw-why-part", `words ${row.words.join(", ")}`));
    if (row.beside.length) { const beside = element("span", "tw-why-part", `beside it ${row.beside.join(", ")}`); beside.title = "words that only the turns beside it hold"; why.append(beside); }
    return why;
  }
  open(hit) {
    for (const other of this.list.querySelectorAll(".tw-open")) this.shut(other);
    hit.classList.add("tw-open"); hit.firstChild.ariaExpanded = "true";
    this.openId = hit.dataset.id;
    this.model.send({ kind: "open", number: this.asked, id: hit.dataset.id });
  }
  shut(hit) {
    hit.classList.remove("tw-open"); hit.firstChild.ariaExpanded = "false";
    hit.querySelector(".tw-whole")?.remove();
    if (this.openId === hit.dataset.id) this.openId = null;
  }
  fill({ row, facts, before, after, trace, problem }) {
    const hit = [...this.list.children].find((one) => one.dataset.id === this.openId);
    if (!hit || (row && row.id !== this.openId)) return;
    hit.querySelector(".tw-whole")?.remove();
    const whole = element("div", "tw-whole");
    if (problem) { whole.append(element("p", "tw-muted", problem)); hit.append(whole); return; }
    const turn = (other, mine) => { const line = element("p", mine ? "tw-turn tw-mine" : "tw-turn"); line.append(element("b", "", other.speaker ?? other.kind), " ", ...marked(other.text, this.query.text ? this.query.text.split(/\s+/) : []).pieces); return line; };
    const talk = element("div", "tw-talk");
    talk.append(...before.map((other) => turn(other, false)), turn(row, true), ...after.map((other) => turn(other, false)));
    const about = element("dl", "tw-hit-facts");
    for (const [name, value] of facts) { const pair = element("div"); pair.append(element("dt", "", name), element("dd", "", value)); about.append(pair); }
    const acts = element("div", "tw-acts");
    acts.append(keeps("tw-act", "Edit", { action: "edit", id: row.id }));
    if (row.kind === "fact" && !row.ended) acts.append(keeps("tw-act", "No longer true", { action: "end", id: row.id }));
    if (row.kind === "fact" && row.ended) acts.append(keeps("tw-act", "Holds again", { action: "hold", id: row.id }));
    if (trace) { const link = element("a", "tw-act", "Its trace →"); link.href = `/swarm/events?trace=${encodeURIComponent(trace)}`; acts.append(link); }
    acts.append(keeps("tw-act tw-danger", "Forget …", { action: "forget", id: row.id }));
    whole.append(talk, about, acts);
    hit.append(whole);
  }
  key(event) {
    const heads = [...this.list.querySelectorAll(".tw-hit-head")], at = heads.indexOf(this.root.getRootNode().activeElement);
    if (at < 0) return;
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); heads[at].click(); }
    else if (event.key === "Escape") this.shut(heads[at].parentNode);
    else if (event.key === "ArrowDown") { event.preventDefault(); heads[at + 1]?.focus(); }
    else if (event.key === "ArrowUp") { event.preventDefault(); (heads[at - 1] ?? this.words).focus(); }
  }
}

export default { render: rendering(Finding) };
