package io.extauthz.quarkus.runtime;

import io.extauthz.declare.SecretCheck;
import java.util.LinkedHashSet;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.eclipse.microprofile.config.Config;
import org.eclipse.microprofile.config.spi.ConfigSource;

/** Finds secrets in the configuration files of an application, by the sources of SmallRye Config. */
public final class ConfigSecrets {

    // application.properties, application-prod.yaml, microprofile-config.properties: part of the archive or
    // next to it. Files that a deployment mounts elsewhere and `.env` are not.
    private static final Pattern FILE =
            Pattern.compile("(?:application(?:-[^/\\\\]*)?\\.(?:properties|ya?ml)|microprofile-config(?:-[^/\\\\]*)?\\.properties)(?=]|$)");
    private static final Pattern PROFILE = Pattern.compile("^%[^.]+\\.");

    private ConfigSecrets() { }

    /**
     * Returns a message for each secret.
     *
     * @param config the configuration
     * @return the messages; none has the secret in it
     */
    public static Set<String> refusals(Config config) {
        Set<String> found = new LinkedHashSet<>();
        for (ConfigSource source : config.getConfigSources()) {
            String file = file(source);
            if (file == null) {
                continue;
            }
            for (String name : source.getPropertyNames()) {
                String value = source.getValue(name);
                if (value != null) {
                    String property = PROFILE.matcher(name).replaceFirst("");
                    refusal(config, property, value, file).ifPresent(found::add);
                }
            }
        }
        return found;
    }

    private static Optional<String> refusal(Config config, String property, String value, String file) {
        Optional<String> refused = SecretCheck.refusal(property, value, file);
        if (refused.isPresent() || !SecretCheck.isSecret(property)) {
            return refused;
        }
        return SecretCheck.reference(value)
                .filter(referred -> isInFile(config, referred))
                .map(referred -> SecretCheck.message(referred, file, property));
    }

    private static boolean isInFile(Config config, String property) {
        for (ConfigSource source : config.getConfigSources()) {
            if (source.getValue(property) != null) {
                return file(source) != null;
            }
        }
        return false;
    }

    private static String file(ConfigSource source) {
        Matcher matcher = FILE.matcher(source.getName());
        return matcher.find() ? matcher.group() : null;
    }
}
