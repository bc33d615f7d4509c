//! gRPC's form in HTTP: header names, content type, metadata and statuses.

pub(crate) mod headers;
pub(crate) mod metadata;
pub(crate) mod status;
