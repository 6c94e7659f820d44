// Draws the charts of a page in place of their pictures, each when it comes near the window.
const draw = (place) => {
  const spec = JSON.parse(place.querySelector("script").textContent);
  const drawn = document.createElement("div");
  vegaEmbed(drawn, spec, { actions: false, renderer: "svg" }).then(
    () => place.querySelector("img").replaceWith(drawn),
    (error) => console.error(error), // the picture stays
  );
};
const watcher = new IntersectionObserver(
  (seen) => seen.filter((each) => each.isIntersecting).forEach((each) => { watcher.unobserve(each.target); draw(each.target); }),
  { rootMargin: "800px" },
);
document.querySelectorAll(".rd-chart").forEach((place) => watcher.observe(place));
