// Buttons that carry data-book, wherever they are drawn: an invoice is made and shown until it is paid, a payment is decoded before it is confirmed,
// a comparison is shown before it is applied.

const LOOK_MS = 1500;
const EXPIRIES = [[600, "10 minutes"], [3600, "1 hour"], [86400, "1 day"], [604800, "7 days"]];
const PERIODS = [["day", "a day"], ["week", "a week"], ["month", "a month"]];

class Booking {
  constructor(model, el) {
    Object.assign(this, { model, asked: 0, watched: null, looking: null, saving: [] });
    this.hands = handsOf(el);
    this.came = (message, buffers) => this.told(message, buffers);
    this.shut = () => { this.watched = null; clearTimeout(this.looking); };
    this.hands.dialog.addEventListener("close", this.shut);
    this.deaf = heeded("book", (found) => this.do(JSON.parse(found.dataset.book)));
    model.on("msg:custom", this.came);
  }
  get offers() { return this.model.get("offers"); }
  do(order) {
    const own = { invoice: () => this.invoice(order), pay: () => this.pay(order), budget: () => this.budget(order), export: () => this.export() };
    if (own[order.action] && !order.sure) own[order.action]();
    else if (order.action === "compare") { this.wait("Compare the books with the node", `Asking ${order.node} what it holds, row by row. Nothing is changed.`); this.send(order); }
    else if (order.action === "statement") { this.wait(order.account, "One moment …"); this.send(order); }
    else if (order.action === "show") { this.wait("Invoice", "One moment …"); this.send(order); }
    else { this.hands.say("wait", "One moment …"); this.send(order); }
  }
  // A reply to a dialog that was closed or replaced meanwhile is passed over: each order has its number.
  send(order) { this.asked += 1; this.model.send({ ...order, number: this.asked }); }
  key() { return crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`; }

  // Fields -------------------------------------------------------------------------------------------------------
  input(name, options = {}) { return Object.assign(element("input", "tw-write"), { ariaLabel: name, autocomplete: "off", ...options }); }
  select(name, options, value) {
    const node = element("select", "tw-write"); node.ariaLabel = name;
    node.append(...options.map(([key, word]) => new Option(word, key)));
    if (value !== undefined) node.value = value;
    return node;
  }
  sats(name, value) { return this.input(name, { type: "text", inputMode: "decimal", placeholder: "0", className: "tw-write tw-sats", value: value ?? "" }); }
  pair(...fields) { const row = element("div", "tw-field-row"); row.append(...fields); return row; }
  node() { return this.select("node", this.offers.nodes.map(({ name, words }) => [name, words]), this.offers.nodes[0]?.name); }
  agents(name) {
    const list = element("datalist"); list.id = "tw-agents";
    list.append(...this.offers.agents.map((agent) => new Option(agent, agent)));
    const field = this.input(name, { placeholder: "nobody" });
    field.setAttribute("list", list.id);
    return [field, list];
  }
  html(text, css = "tw-preview") { const node = element("div", css); node.innerHTML = text; return node; }
  wait(title, words) { this.hands.show(title, [element("p", "tw-muted", words)], { leave: "Close" }); }

  // An invoice -----------------------------------------------------------------------------------------------------
  invoice(order) {
    const amount = this.sats("amount in sat", order.amount), memo = this.input("what for", { maxLength: 639, placeholder: "shown to who pays" });
    const expiry = this.select("valid for", EXPIRIES, order.expiry ?? 3600), node = this.node(), source = this.input("source", { placeholder: "page" });
    const [agent, list] = this.agents("agent"), task = this.input("task", { placeholder: "none" });
    const more = element("details", "tw-more-fields");
    more.append(element("summary", "", "for an agent, a task, a source"), this.pair(labelled("agent", agent), labelled("task", task), labelled("source", source)), list);
    const fields = [this.pair(labelled("amount in sat", amount), labelled("valid for", expiry)), labelled("what for", memo), ...(this.offers.nodes.length > 1 ? [labelled("node", node)] : []), more];
    const key = this.key();
    const go = () => {
      if (!amount.value.trim()) { amount.focus(); return false; }
      this.send({ action: "invoice", amount: amount.value, memo: memo.value, expiry_s: Number(expiry.value), node: node.value, agent: agent.value, task: task.value, source: source.value, key });
      return true;
    };
    this.form("Receive sats", fields, "Create the invoice", go, amount);
  }
  // What was typed stays while the answer is on its way, and when it is a refusal.
  form(title, fields, word, go, focus, meanwhile = "One moment …") {
    const trouble = element("p", "tw-trouble"); trouble.setAttribute("role", "alert"); trouble.hidden = true;
    const tell = (state, words) => { trouble.dataset.state = state; trouble.textContent = words; trouble.hidden = false; };
    const does = this.hands.show(title, [...fields, trouble], { word, focus, stays: true, css: "tw-form", go: () => { if (go() !== false) { does.disabled = true; tell("wait", meanwhile); } return false; } });
    this.refuse = (words) => { does.disabled = false; tell("bad", words); };
    this.ready = () => { does.disabled = false; trouble.hidden = true; };
    for (const field of this.hands.dialog.querySelectorAll("input")) field.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); does.click(); } });
  }
  shown({ title, html, open, id }) {
    this.refuse = null;
    this.hands.show(title, [this.html(html)], { css: "tw-bill" });
    clearTimeout(this.looking);
    this.watched = open ? id : null;
    if (open) this.looking = setTimeout(() => this.look(), LOOK_MS);
  }
  look() { if (this.watched && this.hands.dialog.open) this.send({ action: "look", id: this.watched }); }

  // A payment ------------------------------------------------------------------------------------------------------
  pay(order) {
    const text = Object.assign(element("textarea", "tw-write tw-bolt11"), { rows: 5, ariaLabel: "invoice to pay", placeholder: "lnbc…", spellcheck: false, value: order.bolt11 ?? "" });
    const node = this.node();
    const play = this.offers.nodes.find((one) => one.play);
    const tries = play ? [button("tw-try", "No invoice at hand? Ask the play node's neighbour for one of 210 sat", () => this.send({ action: "neighbour_asks", node: play.name, amount: "210" }))] : [];
    this.paste = (bolt11) => { text.value = bolt11; text.focus(); this.ready(); };
    const fields = [labelled("invoice", text, "Paste what you were given. It is decoded and shown before anything is paid."), ...tries, ...(this.offers.nodes.length > 1 ? [labelled("from", node)] : [])];
    const go = () => { if (!text.value.trim()) { text.focus(); return false; } this.send({ action: "decode", bolt11: text.value.trim(), node: node.value }); return true; };
    this.form("Pay an invoice", fields, "Decode it", go, text);
  }
  decoded({ html, payable, amountless, fee_limit, node, bolt11, button: word }) {
    const body = this.html(html);
    if (!payable) { this.refuse = null; this.hands.show("Pay this invoice?", [body], { css: "tw-form" }); return; }
    const limit = this.sats("fee limit in sat", fee_limit), amount = this.sats("amount in sat");
    const [agent, list] = this.agents("agent"), task = this.input("task", { placeholder: "none" }), memo = this.input("note", { maxLength: 639, placeholder: "only in your books" });
    const fields = [body, this.pair(...(amountless ? [labelled("amount in sat", amount, "The invoice leaves it to you.")] : []), labelled("fee at most, in sat", limit), labelled("agent", agent, "Its budget is asked.")), this.pair(labelled("task", task), labelled("note", memo)), list];
    const key = this.key();
    const go = () => {
      if (amountless && !amount.value.trim()) { amount.focus(); return false; }
      this.send({ action: "pay", sure: true, bolt11, node, amount: amountless ? amount.value : "", fee_limit: limit.value, agent: agent.value, task: task.value, memo: memo.value, key });
      return true;
    };
    this.form("Pay this invoice?", fields, word, go, amountless ? amount : null, "Paying … It goes on, and is written down, if you close this window.");
    if (!amountless) this.hands.dialog.querySelector(".tw-keep").focus();
  }

  // Comparing, budgets, files ----------------------------------------------------------------------------------------
  report({ title, html, button: word, order }) {
    const go = order ? () => { this.wait("Compare the books with the node", "Asking once more, and writing down what is missing …"); this.send(order); return false; } : undefined;
    this.hands.show(title, [this.html(html)], { word, go, stays: true, css: "tw-report" });
  }
  budget(order) {
    const [agent, list] = this.agents("agent"), period = this.select("period", PERIODS, order.period ?? "day"), limit = this.sats("limit in sat", order.limit);
    agent.placeholder = "echo"; agent.value = order.agent ?? ""; limit.placeholder = "no limit";
    const go = () => {
      if (!agent.value.trim()) { agent.focus(); return false; }
      this.send({ action: "budget", sure: true, agent: agent.value, period: period.value, limit: limit.value });
      return true;
    };
    this.form("Set a budget", [this.pair(labelled("agent", agent), labelled("for", period), labelled("sat at most", limit)), element("p", "tw-muted", "What an agent pays, with the fees, is held against it at once. Without a number the limit is taken away."), list], "Set it", go, order.agent ? limit : agent);
  }
  export() {
    const format = this.select("format", this.offers.formats.map(({ name, words }) => [name, words]));
    const go = () => { this.saving = []; this.send({ action: "export", sure: true, format: format.value }); return true; };
    this.form("Take the books out", [labelled("format", format, "The whole ledger, oldest first; the same books always give the same file.")], "Save the file", go, format);
  }
  save({ name, words }) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(this.saving, { type: "application/octet-stream" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    this.saving = [];
    this.hands.dialog.close();
    this.hands.say("good", words);
  }

  // What comes back ------------------------------------------------------------------------------------------------
  told(message, buffers) {
    const { kind, number } = message, late = number !== this.asked;
    if (kind === "said") {
      if (message.state === "bad" && this.refuse && this.hands.dialog.open && !late) this.refuse(message.words);
      else { if (!late && message.close) this.hands.dialog.close(); const { undo } = message; this.hands.say(message.state, message.words, undo ? { word: undo.word ?? "Undo", does: () => this.do({ ...undo, sure: true }) } : {}); }
      if (message.changed && this.watched && this.hands.dialog.open) this.looking = setTimeout(() => this.look(), 0);
    } else if (kind === "chunk") { if (!late) this.saving.push(...buffers); }
    else if (kind === "file") { if (!late) this.save(message); }
    else if (kind === "still") { if (!late && this.watched) this.looking = setTimeout(() => this.look(), LOOK_MS); }
    else if (late || !this.hands.dialog.open) { if (kind === "shown" && message.final) this.hands.say(message.state, message.words); }
    else if (kind === "pasted") this.paste?.(message.bolt11);
    else if (kind === "shown") this.shown(message);
    else if (kind === "decoded") this.decoded(message);
    else if (kind === "report") this.report(message);
    if (message.changed) { this.model.set("done", this.model.get("done") + 1); this.model.save_changes(); }
  }
  end() {
    clearTimeout(this.looking);
    this.deaf();
    this.model.off("msg:custom", this.came);
    this.hands.end();
  }
}

function render({ model, el }) {
  const booking = new Booking(model, el);
  return () => booking.end();
}

export default { render };
