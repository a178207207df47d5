// The JupyterHub button asks for the hub's address once; without this script it leads to the page
// that explains it.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a.ar-hub");
  if (!link) return;
  event.preventDefault();
  const known = localStorage.getItem("ar-hub") || "https://";
  const hub = window.prompt("Address of your JupyterHub", known);
  if (!hub || hub === "https://") return;
  localStorage.setItem("ar-hub", hub);
  const { repository, branch, file } = link.dataset;
  const folder = repository.split("/").pop();
  const query = new URLSearchParams({ repo: repository, branch, urlpath: `lab/tree/${folder}/${file}` });
  window.location.href = `${hub.replace(/\/+$/, "")}/hub/user-redirect/git-pull?${query}`;
});

// A slider's hidden pictures are fetched when a reader comes to it, before they are asked for.
for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, ({ target }) => {
    const frames = target.closest(".ar-slider")?.querySelectorAll("img") ?? [];
    for (const frame of frames) frame.loading = "eager";
  });
}

// What scrolls sideways can be scrolled by keyboard. The theme measures all such boxes when a page
// has loaded, and so makes the browser lay out the whole chapter at once; the build leaves that out.
// This measures each when it is laid out anyway, as a reader comes near.
const measured = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const scrolls =
      target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
    const index = scrolls ? 0 : -1;
    if (target.tabIndex !== index) target.tabIndex = index;
  }
});
const boxes = "pre, .cell_output > .output, .pst-scrollable-table-container, figure.ar-wide";
for (const box of document.querySelectorAll(boxes)) measured.observe(box);
