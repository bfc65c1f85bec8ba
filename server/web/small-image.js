// Small copies of local images, drawn so that a list of many large files stays light.

/** Draw the center square of an image file on a canvas; resolves to whether the browser could read it. */
export async function drawSmall(canvas, file) {
  try {
    const bitmap = await createImageBitmap(file);
    const side = Math.min(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    return true;
  } catch {
    canvas.classList.add("missing");
    return false;
  }
}
