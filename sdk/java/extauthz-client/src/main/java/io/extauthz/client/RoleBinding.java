package io.extauthz.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * A role binding, Casbin's {@code g} line: {@code user} has {@code role} in {@code dom}.
 *
 * @param id what the API gave it; null before it is created
 * @param user who has the role
 * @param userKind what {@code user} names
 * @param role the role
 * @param dom the domain
 * @param expiresAt when it ends, as text of RFC 3339; null for never
 */
public record RoleBinding(String id, String user, BoundSubject userKind, String role, String dom, String expiresAt) {

    /** Takes the members. */
    public RoleBinding {
        Objects.requireNonNull(user, "user");
        Objects.requireNonNull(userKind, "userKind");
        Objects.requireNonNull(role, "role");
        Objects.requireNonNull(dom, "dom");
    }

    /**
     * Makes a binding without an id that never ends.
     *
     * @param user who has the role
     * @param userKind what {@code user} names
     * @param role the role
     * @param dom the domain
     */
    public RoleBinding(String user, BoundSubject userKind, String role, String dom) {
        this(null, user, userKind, role, dom, null);
    }

    Map<String, Object> document() {
        var members = new LinkedHashMap<String, Object>();
        members.put("user", user);
        members.put("user_kind", Words.of(userKind));
        members.put("role", role);
        members.put("dom", dom);
        Documents.put(members, "expires_at", expiresAt);
        return members;
    }

    static RoleBinding read(Object document) {
        var members = new Members(document);
        return new RoleBinding(
                members.text("id"),
                members.text("user"),
                members.choice("user_kind", BoundSubject.class),
                members.text("role"),
                members.text("dom"),
                members.optionalText("expires_at"));
    }
}
