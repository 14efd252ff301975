// What the live feed holds: what has come, bounded and in order, and what was fetched of the past. Joined after wording.js.

const PAST_KEPT = 20000, ANSWER_MS = 15000;

// What has come, in order; the cursor is the last seq taken, so a replay after a reconnect adds nothing twice.
class Buffer {
  constructor(kept, since) { this.kept = kept; this.reset(since); this.epoch = null; }
  reset(since) { this.events = []; this.cursor = since; this.counts = new Map(); }
  // Lets go of what it holds and goes on from where it was; the past brings back what may still be seen.
  forget() { this.events = []; this.counts = new Map(); }
  get first() { return this.events.length ? this.events[0].seq : this.cursor + 1; }
  // Returns what is new, and what had to make room for it.
  add(events) {
    const fresh = events.filter((event) => event.seq > this.cursor);
    for (const event of fresh) {
      this.cursor = event.seq;
      this.events.push(event);
      this.counts.set(familyOf(event), (this.counts.get(familyOf(event)) ?? 0) + 1);
    }
    const gone = this.events.splice(0, Math.max(0, this.events.length - this.kept));
    for (const event of gone) this.counts.set(familyOf(event), this.counts.get(familyOf(event)) - 1);
    return { fresh, gone };
  }
}

// What lies before the buffer and matches the filter, oldest first; asked of the kernel as the reader comes to the end.
class Past {
  constructor(model, changed, send) {
    Object.assign(this, { model, changed, send, asked: 0 });
    this.came = (message) => { if (message.kind === "past" && message.number === this.asked) this.take(message); };
    model.on("msg:custom", this.came);
    this.reset();
  }
  reset() { clearTimeout(this.late); Object.assign(this, { events: [], more: true, waiting: false, problem: "" }); this.asked += 1; }
  ask(before, query) {
    if (this.waiting || !this.more || this.problem || this.events.length >= PAST_KEPT) return;
    this.waiting = true; this.asked += 1;
    this.send({ kind: "past", number: this.asked, before: this.events.length ? this.events[0].seq : before, query });
    this.late = setTimeout(() => { this.waiting = false; this.problem = "What came before could not be fetched"; this.changed(); }, ANSWER_MS);
  }
  take({ events, more, problem }) {
    clearTimeout(this.late);
    Object.assign(this, { waiting: false, more, problem });
    this.events = [...[...events].reverse(), ...this.events];
    this.changed();
  }
  // What the buffer had to give up goes on being shown to who reads the past; to nobody else.
  keep(events) {
    if (!this.events.length || !events.length) return;
    this.events.push(...events);
    if (this.events.length > PAST_KEPT) { this.events.splice(0, this.events.length - PAST_KEPT); this.more = true; }
  }
  end() { clearTimeout(this.late); this.model.off("msg:custom", this.came); }
}

// Follows the server's feed; where there never was one, it asks the kernel to follow instead.
class Follower {
  constructor(model, buffer, onEvents, onState, onReset) {
    Object.assign(this, { model, buffer, onEvents, onState, onReset, delay: 300, everOpen: false, local: false, done: false, server: null, orphaned: false });
    this.fromKernel = (packet) => { if (this.local && packet.kind === "events") this.take(packet); };
    model.on("msg:custom", this.fromKernel);
    this.connect();
  }
  connect() {
    if (this.done) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(`${scheme}//${location.host}${this.model.get("path")}?since=${this.buffer.cursor}`);
    this.socket.onmessage = (message) => this.take(JSON.parse(message.data));
    this.socket.onclose = (event) => this.closed(event);
  }
  take(packet) {
    if (packet.kind === "hello") this.greeted(packet);
    else if (packet.events) this.onEvents(packet.events);
  }
  greeted(packet) {
    this.everOpen = true; this.delay = 300;
    // Another start of the server: the page's kernel is gone until marimo has made a new one, which draws the page anew.
    this.orphaned ||= this.server !== null && packet.server !== this.server;
    this.server = packet.server;
    if (this.orphaned) window.dispatchEvent(new CustomEvent("tw-orphaned"));
    const other = this.buffer.epoch !== null && this.buffer.epoch !== packet.epoch;
    this.buffer.epoch = packet.epoch;
    if (other || packet.reset || packet.head < this.buffer.cursor) {
      // Another log (a restored or new home): what is shown belongs to the old one, and its cursor means nothing here.
      this.buffer.reset(Math.max(0, packet.head - 200));
      this.onReset();
      this.socket.onclose = null; this.socket.close(); this.connect();
      return;
    }
    this.onState("open");
  }
  closed(event) {
    if (this.done) return;
    if (!this.everOpen) {
      this.local = true;
      this.model.send({ kind: "follow", since: this.buffer.cursor });
      this.onState("local");
      return;
    }
    this.onState(event.code === 4401 ? "login" : "lost");
    if (event.code === 4401) return;
    this.delay = Math.min(this.delay * 2, 10000);
    this.retry = setTimeout(() => this.connect(), this.delay * (0.75 + Math.random() / 2));
  }
  end() {
    this.done = true;
    clearTimeout(this.retry);
    this.model.off("msg:custom", this.fromKernel);
    this.socket?.close();
  }
}
