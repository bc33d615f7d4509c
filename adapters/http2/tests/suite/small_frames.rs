//! small_frames
