// Makes a PNG of a chart: draws the chart's own file at twice its size, on an opaque ground, and offers what comes of it.
"use strict";
{
  /** Pixels of the picture for each of the chart. */
  const SCALE = 2;

  const GROUND = "#ffffff";

  document.documentElement.dataset.scripts = "";

  const offer = (blob, name) => {
    const url = URL.createObjectURL(blob);
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    // The download has begun by then.
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  };

  const draw = async (file) => {
    const image = new Image();
    image.src = file;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth * SCALE;
    canvas.height = image.naturalHeight * SCALE;
    const context = canvas.getContext("2d");
    context.fillStyle = GROUND;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  };

  document.addEventListener("click", async (event) => {
    const file = event.target.dataset?.png;
    if (file === undefined) return;
    const button = event.target;
    button.disabled = true;
    try {
      offer(await draw(file), `${new URL(file, location.href).searchParams.get("file")}.png`);
    } catch {
      button.insertAdjacentHTML("afterend", ' <span role="alert" data-added>The picture could not be drawn.</span>');
    } finally {
      button.disabled = false;
    }
  });
}
