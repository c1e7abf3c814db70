//! The official container images, through testcontainers.
//!
//! A world runs its CA inside network namespaces of its own, which no container engine can give a
//! container. So the image is started once as a container, to see that it works here, and its
//! program, which is all such an image holds, is copied out and run in the world.

use super::find::{Outcome, Source};

/// The images' names, pinned by tag: `…/pebble` and `…/pebble-challtestsrv` of one release.
const IMAGES: [(&str, &str); 2] = [
    ("ROULETTE_PEBBLE_IMAGE", "ghcr.io/letsencrypt/pebble:2.10.1"),
    ("ROULETTE_CHALLTESTSRV_IMAGE", "ghcr.io/letsencrypt/pebble-challtestsrv:2.10.1"),
];

/// The container source.
pub(super) struct Container {
    /// Pebble's image and its DNS server's.
    #[cfg_attr(
        not(feature = "containers"),
        expect(dead_code, reason = "a build without container support only says that it has none")
    )]
    images: [String; 2],
}

impl Container {
    pub fn new() -> Container {
        let image = |(variable, default): (&str, &str)| {
            std::env::var(variable)
                .ok()
                .filter(|value| !value.is_empty())
                .unwrap_or_else(|| default.to_owned())
        };
        Container { images: IMAGES.map(image) }
    }
}

impl Source for Container {
    fn name(&self) -> &'static str {
        "container"
    }

    fn how(&self) -> String {
        let [(pebble, _), (challtestsrv, _)] = IMAGES;
        let build = if cfg!(feature = "containers") { "" } else { "build with `--features containers`; " };
        format!(
            "{build}start a container engine (DOCKER_HOST); {pebble} and {challtestsrv} name other images"
        )
    }

    #[cfg(not(feature = "containers"))]
    fn find(&self, _progress: &mut dyn FnMut(&str)) -> Outcome {
        Outcome::Not("this build has no container support".to_owned())
    }

    #[cfg(feature = "containers")]
    fn find(&self, progress: &mut dyn FnMut(&str)) -> Outcome {
        let found = super::cache::Cache::of_user()
            .and_then(|cache| super::engine::programs(&self.images, &cache, progress));
        found.map_or_else(Outcome::Not, Outcome::Found)
    }
}
