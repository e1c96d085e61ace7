// Runs before anything is drawn, so that a chosen theme does not flash the other one first. No choice follows the system.
{
  let chosen = null;
  try {
    chosen = JSON.parse(localStorage.getItem("crayon.theme"));
  } catch {
    // A browser that keeps nothing follows the system.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
