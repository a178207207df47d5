// The site's theme: what the reader chose there ("mode"), else what the system prefers.
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function paint() {
  let mode = null;
  try {
    mode = localStorage.getItem("mode");
  } catch {
    // A browser that denies storage leaves the system's preference.
  }
  const chosen = mode === "dark" || mode === "light" ? mode : dark.matches ? "dark" : "light";
  document.documentElement.dataset.theme = chosen;
}

paint();
dark.addEventListener("change", paint);
window.addEventListener("storage", paint);
