// The picture upright, as the gateway sees it. Browsers turn JPEG and PNG as their EXIF says; of WebP not all do, so that is
// read here.

/** An ImageBitmap, or null where the browser cannot decode it. */
export async function uprightBitmap(blob) {
  try {
    const head = new DataView(await blob.slice(0, 12).arrayBuffer());
    const isWebp = head.byteLength === 12 && word(head, 0) === "RIFF" && word(head, 8) === "WEBP";
    if (!isWebp) return await createImageBitmap(blob, { imageOrientation: "from-image" });
    const stored = await createImageBitmap(blob, { imageOrientation: "none" });
    return await turned(stored, orientationOf(new DataView(await blob.arrayBuffer())));
  } catch {
    return null;
  }
}

/** 1 to 8 of a WebP's EXIF chunk; 1 where there is none. */
function orientationOf(file) {
  for (let at = 12; at + 8 <= file.byteLength; ) {
    const size = file.getUint32(at + 4, true);
    if (word(file, at) === "EXIF") return ofTiff(new DataView(file.buffer, at + 8, Math.min(size, file.byteLength - at - 8)));
    at += 8 + size + (size % 2);
  }
  return 1;
}

function ofTiff(tiff) {
  const start = word(tiff, 0) === "Exif" ? 6 : 0; // some writers keep JPEG's prefix
  const little = tiff.getUint16(start) === 0x4949;
  const directory = start + tiff.getUint32(start + 4, little);
  for (let i = 0; i < tiff.getUint16(directory, little); i++) {
    const entry = directory + 2 + 12 * i;
    if (tiff.getUint16(entry, little) === 0x0112) return tiff.getUint16(entry + 8, little);
  }
  return 1;
}

/** What EXIF's orientations ask for: x and y of the upright picture, out of those of the stored one. */
function matrixOf(orientation, width, height) {
  return {
    2: [-1, 0, 0, 1, width, 0],
    3: [-1, 0, 0, -1, width, height],
    4: [1, 0, 0, -1, 0, height],
    5: [0, 1, 1, 0, 0, 0],
    6: [0, 1, -1, 0, height, 0],
    7: [0, -1, -1, 0, height, width],
    8: [0, -1, 1, 0, 0, width],
  }[orientation];
}

async function turned(stored, orientation) {
  const matrix = matrixOf(orientation, stored.width, stored.height);
  if (!matrix) return stored;
  const [width, height] = orientation >= 5 ? [stored.height, stored.width] : [stored.width, stored.height];
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.setTransform(...matrix);
  context.drawImage(stored, 0, 0);
  stored.close();
  return context.canvas.transferToImageBitmap();
}

function word(view, at) {
  return at + 4 <= view.byteLength ? String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3)) : "";
}
