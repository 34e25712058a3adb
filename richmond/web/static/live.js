// What the server sends as it happens. It says when the server is lost, and comes back by itself.

const SILENT_MS = 40000; // the server sends something every 15 s
const RETRY_MS = 2000;

// `heard`: {state(parts), happened(events), row(row)}; `found` and `lost` are told of changes only.
export function follow(heard, found, lost) {
  let source, silent;
  let up = null;

  function connect() {
    source = new EventSource("/events");
    for (const name of ["state", "happened", "row", "beat"]) {
      source.addEventListener(name, (event) => {
        alive();
        heard[name]?.(JSON.parse(event.data));
      });
    }
    source.addEventListener("error", away);
  }

  function alive() {
    clearTimeout(silent);
    silent = setTimeout(away, SILENT_MS);
    if (up !== true) {
      up = true;
      found();
    }
  }

  // The browser's own attempts end for good at the first answer that is no stream, such as a proxy's.
  function away() {
    clearTimeout(silent);
    source.close();
    setTimeout(connect, RETRY_MS);
    if (up !== false) {
      up = false;
      lost();
    }
  }

  connect();
  addEventListener("pagehide", () => source.close());
}
