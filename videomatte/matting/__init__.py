"""The matting stage: frames with trimaps in, frames with mattes out."""
