package io.extauthz.declare;

import java.util.Locale;
import java.util.Optional;
import java.util.regex.Pattern;

/**
 * Refuses secrets in configuration files, which are part of a source repository and of the application's
 * archive. Secrets come from environment variables, or from files that an environment variable names.
 */
public final class SecretCheck {

    // Names in the form that every spelling of them has in common: ADMIN_CLIENT_SECRET, admin.client-secret.
    private static final Pattern SERVICE_KEY = Pattern.compile("extauthz[a-z0-9]*(apikey|servicekey)");
    private static final Pattern CLIENT_SECRET = Pattern.compile("adminclientsecret|extauthz[a-z0-9]*secret");
    private static final String OF_SERVICE_KEY = "EXTAUTHZ_SERVICE_API_KEY";
    private static final Pattern KEY = Pattern.compile("sak_live_[A-Za-z0-9_-]{8,}");
    private static final Pattern PRIVATE_KEY = Pattern.compile("-----BEGIN [A-Z ]*PRIVATE KEY-----");
    private static final Pattern REFERENCE = Pattern.compile("\\$\\{([^${}:]+)\\}");

    private SecretCheck() { }

    /**
     * Tells whether a property of a configuration file holds a secret of extauthz. A reference such as
     * {@code ${MY_KEY}} is none; {@link #reference} returns what it leads to.
     *
     * @param property the name of the property, in whatever spelling
     * @param value its value before references are replaced
     * @param file the file, for the message
     * @return a message with property, file and fix, never with the value; empty where it holds no secret
     */
    public static Optional<String> refusal(String property, String value, String file) {
        String variable = variable(property);
        if (variable != null && !value.isBlank() && reference(value).isEmpty()) {
            return Optional.of(refused(property, file, variable));
        }
        if (KEY.matcher(value).find()) {
            return Optional.of(refused(property, file, OF_SERVICE_KEY));
        }
        boolean own = canonical(property).startsWith("extauthz") || canonical(property).startsWith("adminclient");
        if (own && PRIVATE_KEY.matcher(value).find()) {
            return Optional.of(refused(property, file, "ADMIN_CLIENT_KEY_FILE"));
        }
        return Optional.empty();
    }

    /**
     * Tells whether a property is one of the secrets.
     *
     * @param property the name of the property, in whatever spelling
     * @return whether its value is a secret
     */
    public static boolean isSecret(String property) {
        return variable(property) != null;
    }

    /**
     * Returns the property that a value is a reference to.
     *
     * @param value the value before references are replaced
     * @return the name, of {@code ${NAME}}; empty where there is a default or other text
     */
    public static Optional<String> reference(String value) {
        var matcher = REFERENCE.matcher(value.strip());
        return matcher.matches() ? Optional.of(matcher.group(1).strip()) : Optional.empty();
    }

    /**
     * Returns the message about a secret in a file.
     *
     * @param property the name of the property
     * @param file the file
     * @param secret the property or variable that is the secret; its variable is named
     * @return what is wrong, and the fix
     */
    public static String message(String property, String file, String secret) {
        String variable = variable(secret);
        return refused(property, file, variable == null ? OF_SERVICE_KEY : variable);
    }

    private static String refused(String property, String file, String variable) {
        boolean isFile = variable.endsWith("_FILE");
        return "the property '" + property + "' in " + file + " is a secret: configuration files are kept in the"
                + " source repository and in the application's archive. Remove it and set the environment variable "
                + variable + (isFile ? "" : ", or " + variable + "_FILE with the path of a file that holds it")
                + "; replace the secret, as it has been in a file";
    }

    private static String variable(String property) {
        String name = canonical(property);
        if (SERVICE_KEY.matcher(name).matches()) {
            return OF_SERVICE_KEY;
        }
        return CLIENT_SECRET.matcher(name).matches() ? "ADMIN_CLIENT_SECRET" : null;
    }

    private static String canonical(String property) {
        return property.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]", "");
    }
}
