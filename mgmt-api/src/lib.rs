//! mgmt-api
