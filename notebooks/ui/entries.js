// Every invoice and payment, newest first: filters that stand in the address, more as the reader scrolls, the chosen one in full beside.

const KEYS = ["text", "direction", "status", "agent", "task", "source", "node", "since", "until", "entry"];
const PICKS = { direction: [["", "in and out"], ["in", "coming in"], ["out", "going out"]], status: [["", "every state"], ["pending", "pending"], ["settled", "settled"], ["failed", "failed"], ["expired", "expired"]] };
const WAIT_MS = 220;
const short = (text) => (text.length > 18 ? `…${text.slice(-8)}` : text);

function when(moment) {
  const clock = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  return moment.toDateString() === new Date(present()).toDateString() ? clock : `${day(moment)} ${clock}`;
}

class Entries extends Sought {
  constructor(model, root) {
    super(model, root, KEYS, WAIT_MS);
    this.rows = new Map();
    this.begin();
  }
  ask(changes, { replace = true } = {}) {
    if (!this.wish({ ...this.query, ...changes }, replace)) return;
    if (Object.keys(changes).every((key) => key === "entry")) this.open(); else this.find();
  }
  keeps(wanted, link) { return Boolean(wanted.entry || link.dataset.add); }

  build() {
    this.root.className = "tw-entries";
    const line = element("div", "tw-seek-line");
    this.words = Object.assign(element("input", "tw-seek-text"), { type: "search", placeholder: "Search memo, hash, invoice, failure", ariaLabel: "search the ledger", spellcheck: false });
    this.words.oninput = () => this.typed(() => ({ text: this.words.value.trim(), entry: "" }));
    this.words.onkeydown = (event) => { if (event.key === "ArrowDown") { event.preventDefault(); this.step(1); this.list.focus(); } };
    this.picks = ["direction", "status", "agent", "node"].map((key) => this.pick(key));
    line.append(this.words, ...this.picks);
    this.on = element("div", "tw-seek-on");
    this.said = element("p", "tw-seek-said"); this.said.setAttribute("role", "status");
    const head = element("div", "tw-entry tw-entry-head"); head.ariaHidden = "true";
    for (const [name, word] of [["when", "when"], ["icon", ""], ["what", "what"], ["who", "for"], ["state", "state"], ["fee", "fee"], ["amount", "amount"]]) head.append(element("span", `tw-entry-${name}`, word));
    this.list = element("div", "tw-entry-list"); this.list.tabIndex = 0;
    this.list.setAttribute("role", "listbox"); this.list.ariaLabel = "invoices and payments, newest first";
    this.list.onclick = (event) => { const row = event.target.closest("[data-id]"); if (row) this.choose(row.dataset.id === this.query.entry ? "" : row.dataset.id); };
    this.list.onkeydown = (event) => this.key(event);
    this.body = element("div"); this.foot = element("div", "tw-entry-foot");
    this.list.append(this.body, this.foot);
    this.table = element("div", "tw-entry-table"); this.table.append(head, this.list);
    this.detail = element("aside", "tw-entry-detail"); this.detail.hidden = true; this.detail.ariaLabel = "the chosen one";
    const both = element("div", "tw-entry-both"); both.append(this.table, this.detail);
    this.root.append(line, this.on, this.said, both);
    this.near = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) this.more(); }, { root: this.list, rootMargin: "300px" });
    this.near.observe(this.foot);
  }
  pick(key) {
    const node = element("select", "tw-seek-pick"); node.ariaLabel = key;
    node.fill = () => {
      const names = this.model.get("names")[key] ?? [], chosen = this.query[key];
      const options = PICKS[key] ?? [["", `every ${key}`], ...[...new Set([...(chosen ? [chosen] : []), ...names])].map((name) => [name, name])];
      node.replaceChildren(...options.map(([value, word]) => new Option(word, value)));
      node.value = chosen ?? "";
      node.hidden = key === "node" && node.options.length < 3 && !node.value;
    };
    node.onchange = () => this.ask({ [key]: node.value, entry: "" }, { replace: false });
    return node;
  }
  paint() {
    for (const node of this.picks) node.fill();
    const query = this.query;
    if (this.root.getRootNode().activeElement !== this.words) this.words.value = query.text ?? "";
    const chips = [];
    for (const key of ["task", "source"]) if (query[key]) chips.push(this.chip(key, short(query[key]), { [key]: "" }));
    if (query.since || query.until) chips.push(this.chip("time", `${query.since ? when(new Date(query.since)) : "…"} – ${query.until ? when(new Date(query.until)) : "now"}`, { since: "", until: "" }));
    if (KEYS.some((key) => key !== "entry" && query[key])) chips.push(button("tw-clear", "show all", () => this.ask(Object.fromEntries(KEYS.map((key) => [key, ""])), { replace: false })));
    this.on.replaceChildren(...chips);
  }
  chip(word, value, without) {
    const chip = button("tw-on", "", () => this.ask({ ...without, entry: "" }, { replace: false }));
    chip.append(element("span", "tw-muted", word), element("span", "", value), element("span", "tw-x", "✕"));
    chip.title = `without ${word} ${value}`;
    return chip;
  }

  told(message) {
    if (message.kind === "detail") {
      if (message.id === this.query.entry) this.fill(message.html);
      return;
    }
    if (message.number !== this.asked) return;
    this.busy = false;
    this.root.dataset.busy = "false";
    if (message.kind === "find") {
      const top = this.list.scrollTop;
      this.rows.clear(); this.body.replaceChildren(); this.say(message);
      this.add(message);
      this.list.scrollTop = message.again ? top : 0;
      this.open();
      return;
    }
    this.add(message);
  }
  say({ rows, words, problem }) {
    this.said.textContent = problem || words;
    this.said.dataset.state = problem ? "bad" : "";
    this.table.hidden = rows.length === 0;
    // Where nothing is yet there is nothing to look through either; the page says what to do instead.
    this.root.hidden = !rows.length && !problem && !KEYS.some((key) => this.query[key]);
    this.root.dataset.found = rows.length;
  }
  add({ rows, cursor }) {
    this.cursor = cursor;
    for (const row of rows) if (!this.rows.has(row.id)) { const node = this.row(row); this.rows.set(row.id, node); this.body.append(node); }
    this.foot.textContent = cursor ? "loading more …" : this.rows.size > 20 ? `all ${number(this.rows.size)} shown` : "";
    this.mark();
    if (cursor) { this.near.unobserve(this.foot); this.near.observe(this.foot); }
  }
  more() {
    if (!this.cursor || this.busy) return;
    this.busy = true;
    this.model.send({ kind: "more", number: this.asked, query: this.query, cursor: this.cursor });
  }
  row({ id, direction, at, what, who, agent, pill, fee, amount, tone, icon, title }) {
    const row = element("div", `tw-entry tw-entry-${direction}`), moment = new Date(at);
    row.dataset.id = id; row.dataset.tone = tone; row.setAttribute("role", "option");
    const time = element("time", "tw-entry-when", when(moment)); time.dateTime = at; time.title = moment.toLocaleString();
    const sign = element("span", "tw-entry-icon"); sign.innerHTML = icon;
    const said = element("span", "tw-entry-what", what); said.title = title;
    const whose = element("span", "tw-entry-who", who);
    if (agent) whose.title = agent;
    const state = element("span", "tw-entry-state"); state.innerHTML = pill;
    row.append(time, sign, said, whose, state, element("span", "tw-entry-fee", fee), element("span", "tw-entry-amount", amount));
    return row;
  }

  choose(id) { this.ask({ entry: id }); }
  open() {
    const id = this.query.entry;
    this.mark();
    if (!id) { this.detail.hidden = true; this.detail.replaceChildren(); this.detail.dataset.id = ""; return; }
    this.model.send({ kind: "open", id });
  }
  fill(html) {
    const { id } = this.detail.dataset, fresh = id !== this.query.entry;
    const folded = new Set([...this.detail.querySelectorAll("details")].filter((one) => one.open).map((one) => one.dataset.part));
    const top = this.detail.scrollTop;
    this.detail.innerHTML = html;
    if (!fresh) for (const one of this.detail.querySelectorAll("details")) if (folded.has(one.dataset.part)) one.open = true;
    this.detail.dataset.id = this.query.entry;
    this.detail.hidden = false;
    this.detail.scrollTop = fresh ? 0 : top;
    // Where the detail stands below the list and not beside it, the reader is taken there.
    if (fresh && matchMedia("(max-width: 999px)").matches) this.detail.scrollIntoView({ block: "start" });
  }
  mark() { for (const [id, row] of this.rows) row.setAttribute("aria-selected", String(id === this.query.entry)); }
  step(by) {
    const ids = [...this.rows.keys()], at = ids.indexOf(this.query.entry);
    const next = ids[at < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, at + by))];
    if (next) { this.choose(next); this.rows.get(next).scrollIntoView({ block: "nearest" }); }
  }
  key(event) {
    if (event.key === "Escape" && this.query.entry) { this.choose(""); event.preventDefault(); }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    this.step(event.key === "ArrowDown" ? 1 : -1);
  }
  end() { super.end(); this.near.disconnect(); }
}

export default { render: rendering(Entries) };
