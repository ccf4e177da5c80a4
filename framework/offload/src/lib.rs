//! Checksums and segmentation of frames: what hardware offload would do, in software.
