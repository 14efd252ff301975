// A stretch of time that is drawn in a chart: it is asked for once the reader lets go. Joined after dom.js.

const LET_GO_MS = 150; // the chart's last word comes a little after the pointer

// One drawing is one step in the browser's history, in however many pieces the kernel tells it; what comes after the reader went elsewhere is dropped.
class Brush {
  constructor(model, ask) {
    Object.assign(this, { model, ask, held: null, pressed: false, asked: false, over: false });
    this.came = () => { this.held = model.get("brush"); this.take(); };
    this.down = () => Object.assign(this, { pressed: true, asked: false, over: false });
    this.up = () => { this.pressed = false; setTimeout(() => this.take(), LET_GO_MS); };
    model.on("change:brush", this.came);
    document.addEventListener("pointerdown", this.down, true);
    document.addEventListener("pointerup", this.up, true);
  }
  take() {
    if (!this.held || this.pressed) return;
    const { since, until } = this.held, replace = this.asked;
    this.held = null;
    if (this.over || !since || !until) return;
    this.asked = true;
    this.ask({ since, until }, { replace });
  }
  leave() { this.held = null; this.over = true; }
  end() {
    this.model.off("change:brush", this.came);
    document.removeEventListener("pointerdown", this.down, true);
    document.removeEventListener("pointerup", this.up, true);
  }
}
