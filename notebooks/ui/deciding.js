// Buttons that carry data-upgrade, wherever they are drawn: a proposal is chosen, tested, decided, applied or taken back.

const NAME_KEY = "tw-decides-as", STEP_MS = 1000;

class Deciding {
  constructor(model, el) {
    Object.assign(this, { model, asked: 0, form: null });
    this.hands = handsOf(el);
    this.came = (message) => this.told(message);
    this.back = () => this.choose(new URLSearchParams(location.search).get("id") ?? "", true);
    this.deaf = heeded("upgrade", (found) => this.do(JSON.parse(found.dataset.upgrade)));
    window.addEventListener("popstate", this.back);
    model.on("msg:custom", this.came);
    this.stepping = setInterval(() => this.steps(), STEP_MS);
  }
  do(order) {
    const asks = { approve: () => this.approve(order), reject: () => this.reject(order), apply: () => this.apply(order), rollback: () => this.rollback(order), pin: () => this.pin(), change: () => this.change() };
    if (order.action === "choose") this.choose(order.id);
    else if (asks[order.action]) asks[order.action]();
    else { this.hands.say("wait", "The tests begin …"); this.send(order); }
  }
  choose(id, quiet = false) {
    if (this.model.get("chosen") === id) return;
    this.model.set("chosen", id);
    this.model.save_changes();
    if (quiet) return;
    writeAddress(["id"], { id }, { push: true });
  }
  send(order) { this.asked += 1; this.model.send({ ...order, number: this.asked }); return this.asked; }

  // Fields -------------------------------------------------------------------------------------------------------
  input(name, options = {}) { return Object.assign(element("input", "tw-write"), { ariaLabel: name, type: "text", autocomplete: "off", spellcheck: false, ...options }); }
  secret(name) { return this.input(name, { type: "password", autocomplete: "current-password" }); }
  name() {
    let last = "";
    try { last = localStorage.getItem(NAME_KEY) ?? ""; } catch { /* a browser may keep nothing */ }
    // A name that may decide nothing is no help.
    const people = this.model.get("people"), value = [last, this.model.get("by"), ...(people.length === 1 ? people : [])].find((name) => people.includes(name)) ?? "";
    return this.input("your name", { value, maxLength: 64, autocomplete: "username" });
  }
  check(words, value = false) {
    const box = Object.assign(element("input"), { type: "checkbox", checked: value }), label = element("label", "tw-check");
    label.append(box, element("span", "", words));
    return [box, label];
  }
  // What was typed stays while the answer is on its way and when it is a refusal; a PIN never stays.
  ask(title, pieces, { word, order, fields, danger = false, focus = null, needs = [], meanwhile = "One moment …" }) {
    const trouble = element("p", "tw-trouble"); trouble.setAttribute("role", "alert"); trouble.hidden = true;
    const tell = (state, words) => { trouble.dataset.state = state; trouble.textContent = words; trouble.hidden = false; };
    const go = () => {
      const empty = needs.find((field) => (field.type === "checkbox" ? !field.checked : !field.value.trim()));
      if (empty) { tell("bad", empty.type === "checkbox" ? "Tick the box first." : `Fill in ${empty.ariaLabel}.`); empty.focus(); return false; }
      const given = Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, field.type === "checkbox" ? field.checked : field.value]));
      try { if (given.by) localStorage.setItem(NAME_KEY, given.by.trim()); } catch { /* a browser may keep nothing */ }
      for (const field of Object.values(fields)) if (field.type === "password") field.value = "";
      does.disabled = true;
      tell("wait", meanwhile);
      this.form = { number: this.send({ ...order, ...given }), refuse: (words) => { does.disabled = false; tell("bad", words); (fields.pin ?? focus)?.focus(); } };
      return false;
    };
    const does = this.hands.show(title, [...pieces, trouble], { word, go, danger, focus, stays: true, css: "tw-form tw-decide" });
    for (const field of this.hands.dialog.querySelectorAll("input")) field.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) { event.preventDefault(); does.click(); } });
  }
  row(...fields) { const row = element("div", "tw-field-row"); row.append(...fields); return row; }
  signed() {
    const by = this.name(), pin = this.secret("PIN");
    return { by, pin, row: this.row(labelled("your name", by), labelled("PIN", pin)), focus: by.value ? pin : by };
  }

  // Orders -------------------------------------------------------------------------------------------------------
  approve(order) {
    const { by, pin, row, focus } = this.signed(), fields = { by, pin }, needs = [by, pin], pieces = [element("p", "tw-muted", order.title)];
    const last = order.given + 1 >= order.quorum;
    if (!this.model.get("people").length) { this.pin(); return; }
    pieces.push(row);
    if (order.consent) { const [box, label] = this.check(`I know that ${order.consent}.`); needs.push(box); pieces.push(label); }
    if (!last) { const [urgent, label] = this.check(`It is urgent: let my approval alone do, though ${order.quorum} are asked for. It is logged loudly.`); fields.urgent = urgent; pieces.push(label); }
    const [apply, label] = this.check(`Apply it to ${order.branch} at once`, false);
    fields.apply = apply;
    pieces.push(label, element("p", "tw-muted", "Your approval is signed, and holds for exactly the change, the merge, the tests and the policy that you see."));
    this.ask("Approve this change?", pieces, { word: "Approve", order: { action: "approve", id: order.id, seen: order.seen }, fields, focus, needs, meanwhile: "Signing; applying takes as long as the tests …" });
  }
  reject(order) {
    const { by, pin, row } = this.signed(), reason = Object.assign(element("textarea", "tw-write tw-reason-of"), { ariaLabel: "the reason", rows: 3, maxLength: 2000 });
    const words = element("p", "tw-muted", order.title);
    this.ask("Reject this change?", [words, labelled("why, so that the next proposal can be better", reason), row], { word: "Reject", danger: true, order: { action: "reject", id: order.id }, fields: { by, pin, reason }, focus: reason, needs: [reason, by, pin] });
  }
  apply(order) {
    this.ask(`Apply to ${order.branch ?? "the branch"}?`, [element("p", "tw-muted", order.title ?? ""), element("p", "", "The branch moves to exactly the tree that was tested and approved. If the branch has moved since, the merge is tested anew first. It can be rolled back afterwards.")], { word: `Apply to ${order.branch ?? "the branch"}`, order: { action: "apply", id: order.id }, fields: {}, meanwhile: "Testing and landing …" });
  }
  rollback(order) {
    const { by, pin, row, focus } = this.signed(), [untested, label] = this.check("Do not test the branch without it first");
    this.ask(`Take it back from ${order.branch ?? "the branch"}?`, [element("p", "tw-muted", order.title ?? ""), element("p", "", "A new commit takes its lines back; nothing is rewritten. The same change counts as high risk from then on."), row, label], { word: "Roll back", danger: true, order: { action: "rollback", id: order.id }, fields: { by, pin, untested }, focus, needs: [by, pin], meanwhile: "Testing the branch without it …" });
  }
  twice(word) { return [Object.assign(this.secret(word), { autocomplete: "new-password" }), Object.assign(this.secret(`${word} once more`), { autocomplete: "new-password" })]; }
  pin() {
    const people = this.model.get("people"), by = people.length ? this.input("new name", { maxLength: 64 }) : this.name(), [pin, again] = this.twice("new PIN");
    const fields = { by, pin, again }, needs = [by, pin, again];
    const pieces = [element("p", "tw-muted", "Six digits or letters at least. It seals the key that signs what is decided, and is stored nowhere; nobody can bring it back."), labelled(people.length ? "the new person's name" : "your name", by), this.row(labelled("PIN", pin), labelled("once more", again))];
    if (people.length) {
      const admitted = this.name(), admitting = this.secret("your PIN");
      Object.assign(fields, { admitted_by: admitted, admitting }); needs.push(admitted, admitting);
      pieces.push(element("p", "tw-muted", "You let them in, with your own PIN:"), this.row(labelled("your name", admitted), labelled("your PIN", admitting)));
    }
    this.secretly(people.length ? "Let somebody in" : "Set your PIN", pieces, { word: people.length ? "Let them in" : "Set the PIN", fields, needs, focus: by.value ? pin : by });
  }
  change() {
    const by = this.name(), old = this.secret("present PIN"), [pin, again] = this.twice("new PIN");
    this.secretly("Change a PIN", [this.row(labelled("your name", by), labelled("present PIN", old)), this.row(labelled("new PIN", pin), labelled("once more", again))], { word: "Change the PIN", fields: { by, old, pin, again }, needs: [by, old, pin, again], focus: by.value ? old : by });
  }
  secretly(title, pieces, options) {
    const { pin, again } = options.fields;
    this.ask(title, pieces, { ...options, order: { action: "pin" } });
    // Both have to be the same before anything is sent.
    const does = this.hands.dialog.querySelector(".tw-go"), go = does.onclick;
    does.onclick = (event) => {
      if (pin.value && again.value && pin.value !== again.value) { again.value = ""; again.focus(); const trouble = this.hands.dialog.querySelector(".tw-trouble"); trouble.dataset.state = "bad"; trouble.textContent = "The two PINs are not the same."; trouble.hidden = false; return; }
      go.call(does, event);
    };
  }

  // Answers ------------------------------------------------------------------------------------------------------
  told(message) {
    if (message.kind === "steps") { this.moved(message.steps); return; }
    const mine = this.form && this.form.number === message.number;
    if (mine && message.state === "bad" && this.hands.dialog.open) this.form.refuse(message.words);
    else {
      if (mine && this.hands.dialog.open) this.hands.dialog.close();
      const back = message.back;
      this.hands.say(message.state, message.words, back ? { word: back.word, does: () => this.do(back.order) } : {});
    }
    // Who may decide is known at once, not only when the page has been drawn anew.
    if (message.people) this.model.set("people", message.people);
    if (mine) this.form = message.state === "bad" ? this.form : null;
    if (message.changed) { this.model.set("done", this.model.get("done") + 1); this.model.save_changes(); }
  }
  // While tests run the page asks how far they are; nothing is asked otherwise.
  steps() {
    const ids = [...document.querySelectorAll("[data-step-of]")].map((node) => node.dataset.stepOf);
    if (ids.length && !document.hidden) this.model.send({ action: "steps", ids });
  }
  moved(steps) {
    for (const node of document.querySelectorAll("[data-step-of]")) {
      const step = steps[node.dataset.stepOf];
      if (!step) continue;
      const text = node.firstElementChild.firstChild, bar = node.querySelector(".tw-progress");
      // The text node is changed in place, because the page's own renderer still holds on to it.
      if (text && text.nodeValue !== step.words) text.nodeValue = step.words;
      bar.toggleAttribute("data-unknown", step.done === null);
      bar.firstElementChild.style.width = step.done === null ? "" : `${100 * step.done}%`;
    }
  }
  end() {
    clearInterval(this.stepping);
    this.hands.end();
    this.deaf();
    window.removeEventListener("popstate", this.back);
    this.model.off("msg:custom", this.came);
  }
}

function render({ model, el }) {
  const deciding = new Deciding(model, el);
  return () => deciding.end();
}

export default { render };
