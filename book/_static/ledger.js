// A filter above the whole ledger: by words, verdict and chapter. Without this script all rows show.
document.addEventListener("DOMContentLoaded", () => {
  const summary = document.querySelector(".ar-summary");
  const rows = [...(summary?.parentElement.querySelectorAll("tr[data-verdict]") ?? [])];
  if (!rows.length) return;

  const unique = (key) => [...new Set(rows.map((row) => row.dataset[key]))];
  const choices = (label, values, name) => {
    const options = values.map((value) => `<option value="${value}">${name(value)}</option>`);
    return `<label>${label} <select><option value="">all</option>${options.join("")}</select></label>`;
  };
  const form = document.createElement("form");
  form.className = "ar-filter";
  form.innerHTML =
    '<label>Words <input type="search" autocomplete="off"></label>' +
    choices("Verdict", unique("verdict"), (value) => value) +
    choices("Chapter", unique("chapter").sort((a, b) => a - b), (value) => value) +
    '<output aria-live="polite"></output>';
  const [words] = form.getElementsByTagName("input");
  const [verdict, chapter] = form.getElementsByTagName("select");

  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !(
        wanted.every((word) => text.includes(word)) &&
        (!verdict.value || row.dataset.verdict === verdict.value) &&
        (!chapter.value || row.dataset.chapter === chapter.value)
      );
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.querySelector("output").textContent = `${shown} of ${rows.length} claims`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  summary.after(form);
  apply();
});
