package io.extauthz.client;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * A role rule, Casbin's {@code p} line; {@code *} is a wildcard for subject, domain, resource and action.
 *
 * @param id what the API gave it; null before it is created
 * @param sub the role, or the subject of the kind {@code subKind}
 * @param subKind what {@code sub} names; null is the API's default, {@code ROLE} in an allow, {@code ANY} in a
 *     deny
 * @param dom the domain
 * @param obj the name of the resource
 * @param act the action
 * @param effect what it leads to
 */
public record RoleRule(String id, String sub, RuleSubject subKind, String dom, String obj, String act, Effect effect) {

    /** Takes the members. */
    public RoleRule {
        Objects.requireNonNull(sub, "sub");
        Objects.requireNonNull(dom, "dom");
        Objects.requireNonNull(obj, "obj");
        Objects.requireNonNull(act, "act");
        Objects.requireNonNull(effect, "effect");
    }

    /**
     * Makes a rule without an id and with the API's default kind of subject.
     *
     * @param sub the role, in a deny the subject
     * @param dom the domain
     * @param obj the name of the resource
     * @param act the action
     * @param effect what it leads to
     */
    public RoleRule(String sub, String dom, String obj, String act, Effect effect) {
        this(null, sub, null, dom, obj, act, effect);
    }

    Map<String, Object> document() {
        var members = new LinkedHashMap<String, Object>();
        members.put("sub", sub);
        Documents.put(members, "sub_kind", Words.of(subKind));
        members.put("dom", dom);
        members.put("obj", obj);
        members.put("act", act);
        members.put("effect", Words.of(effect));
        return members;
    }

    static RoleRule read(Object document) {
        var members = new Members(document);
        return new RoleRule(
                members.text("id"),
                members.text("sub"),
                members.choice("sub_kind", RuleSubject.class),
                members.text("dom"),
                members.text("obj"),
                members.text("act"),
                members.choice("effect", Effect.class));
    }
}
