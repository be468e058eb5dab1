// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Global variables of an object: their first values before the load, their memory after it.
