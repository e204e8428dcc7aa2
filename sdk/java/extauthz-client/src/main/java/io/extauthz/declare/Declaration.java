package io.extauthz.declare;

import io.extauthz.client.Authentication;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * What an endpoint declares: {@link Resource} as a value.
 *
 * @param name the name of the resource
 * @param action the action; null is the text after the last {@code :} of the name, else {@code access}
 * @param defaultRoles the roles that are allowed the default action at the first registration
 * @param displayName a name for people; null where there is none
 * @param authentication whether the route needs a credential; null is the API's default
 * @param isPublic whether each caller is allowed; null leaves it as it is
 */
public record Declaration(
        String name,
        String action,
        List<String> defaultRoles,
        String displayName,
        Authentication authentication,
        Boolean isPublic) {

    /** Checks that a name is there, and copies the roles. */
    public Declaration {
        Objects.requireNonNull(name, "name");
        defaultRoles = List.copyOf(defaultRoles);
    }

    /**
     * Reads an annotation.
     *
     * @param resource the annotation
     * @return the same as a value
     */
    public static Declaration of(Resource resource) {
        return new Declaration(
                resource.name(),
                given(resource.action()),
                Arrays.asList(resource.defaultRoles()),
                given(resource.displayName()),
                resource.authentication() == Resource.Authenticate.DEFAULT
                        ? null
                        : Authentication.valueOf(resource.authentication().name()),
                resource.isPublic() == Resource.Toggle.UNCHANGED
                        ? null
                        : resource.isPublic() == Resource.Toggle.TRUE);
    }

    /**
     * Returns the action that decides.
     *
     * @return the action, or the default action of the resource where none is declared
     */
    public String effectiveAction() {
        if (action != null) {
            return action;
        }
        String last = name.substring(name.lastIndexOf(':') + 1);
        return name.indexOf(':') < 0 || last.isEmpty() ? "access" : last;
    }

    /** Tells whether two endpoints are judged alike: the same resource, action and authentication. */
    boolean judgedAs(Declaration other) {
        return other != null
                && name.equals(other.name)
                && effectiveAction().equals(other.effectiveAction())
                && authentication == other.authentication;
    }

    private static String given(String text) {
        return text.isEmpty() ? null : text;
    }
}
