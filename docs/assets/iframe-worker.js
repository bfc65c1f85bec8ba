// Lets the search work when a page is opened as a file. Browsers run no workers from files, so this runs one in a frame.
// The name is the one that the theme's plugin "offline" looks for; it would load a script from another host otherwise.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #scope;
    #waiting = []; // for the script, until it is loaded

    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.#scope = frame.contentWindow;
      this.#scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = frame.contentDocument.createElement("script");
      script.src = url;
      script.onload = () => {
        const waiting = this.#waiting;
        this.#waiting = null;
        waiting.forEach((data) => this.postMessage(data));
      };
      frame.contentDocument.body.append(script);
    }

    postMessage(data) {
      if (this.#waiting) this.#waiting.push(data);
      else this.#scope.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
