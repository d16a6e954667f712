use crate::doctor::finding::Finding;
use crate::doctor::setting::{Setting, sysctl_path};
use crate::doctor::view::View;
use crate::doctor::wanted::SYSCTLS;

/// The table of wanted sysctls.
pub fn sysctls(view: &View<'_>) -> Vec<Finding> {
    SYSCTLS
        .iter()
        .map(|sysctl| {
            let finding = Finding::new("sysctl", sysctl.name, sysctl.why);
            let now = match view.number(&sysctl_path(sysctl.name)) {
                Ok(now) => now,
                Err(error) => return finding.unknown(error),
            };
            if (sysctl.least..=sysctl.most).contains(&now) {
                return finding.ok(now.to_string());
            }
            let wanted = if now < sysctl.least {
                format!("at least {}", sysctl.least)
            } else {
                format!("at most {}", sysctl.most)
            };
            let setting = Setting::Sysctl {
                name: sysctl.name.to_owned(),
            };
            finding
                .bad(sysctl.status, now.to_string(), wanted, "")
                .fixed_by([(setting, sysctl.value.to_string())])
        })
        .collect()
}
