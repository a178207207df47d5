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
