package io.extauthz.quarkus.deployment;

import io.extauthz.client.Authentication;
import io.extauthz.declare.Declaration;
import io.extauthz.declare.Resource;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import org.jboss.jandex.AnnotationInstance;
import org.jboss.jandex.AnnotationTarget;
import org.jboss.jandex.AnnotationValue;
import org.jboss.jandex.ClassInfo;
import org.jboss.jandex.DotName;
import org.jboss.jandex.IndexView;
import org.jboss.jandex.MethodInfo;
import org.jboss.jandex.Type;

/**
 * What the methods of the application declare by {@link Resource}.
 *
 * <p>The nearest annotation holds: the method's own, those of the methods that it overrides, then its class's
 * and those of its supertypes; a superclass goes before interfaces.
 */
final class ResourceAnnotations {

    private static final DotName RESOURCE = DotName.createSimple(Resource.class);
    private static final DotName REST_CLIENT =
            DotName.createSimple("org.eclipse.microprofile.rest.client.inject.RegisterRestClient");

    private final IndexView index;
    private final Set<AnnotationTarget> reached = new HashSet<>();

    ResourceAnnotations(IndexView index) {
        this.index = index;
    }

    /**
     * What holds for a method.
     *
     * @param declaration what it declares; null for nothing, and where annotations contradict each other
     * @param problem how they do, and what to write; null where they do not
     */
    record Found(Declaration declaration, String problem) { }

    /** Returns what holds for a method of a class. */
    Found on(ClassInfo owner, MethodInfo method) {
        Set<Declaration> methods = nearest(owner, type -> overriding(type, method), new HashSet<>());
        Set<Declaration> types = nearest(owner, ResourceAnnotations::itself, new HashSet<>());
        Set<Declaration> found = methods.isEmpty() ? types : methods;
        if (found.size() > 1) {
            List<String> names = found.stream().map(each -> "'" + each.name() + "'").sorted().toList();
            return new Found(null, owner.name() + "." + method.name() + " inherits different declarations ("
                    + String.join(", ", names) + ") from its interfaces and none of them is registered;"
                    + " write @Resource on " + owner.simpleName() + "." + method.name());
        }
        return new Found(found.isEmpty() ? null : found.iterator().next(), null);
    }

    /** Returns a message for each annotation that no endpoint has. */
    List<String> unreached() {
        List<String> messages = new ArrayList<>();
        for (AnnotationInstance each : index.getAnnotations(RESOURCE)) {
            AnnotationTarget target = each.target();
            boolean method = target.kind() == AnnotationTarget.Kind.METHOD;
            ClassInfo owner = method ? target.asMethod().declaringClass() : target.asClass();
            if (!reached.contains(target) && !owner.hasDeclaredAnnotation(REST_CLIENT)) {
                messages.add(owner.name() + (method ? "." + target.asMethod().name() : "") + " declares '"
                        + each.value("name").asString() + "', and no request is dispatched to it; add @Path and"
                        + " an HTTP method such as @GET, or remove @Resource");
            }
        }
        messages.sort(null);
        return messages;
    }

    private Set<Declaration> nearest(
            ClassInfo type, Function<ClassInfo, AnnotationTarget> element, Set<DotName> seen) {
        Set<Declaration> found = new LinkedHashSet<>();
        if (type == null || !seen.add(type.name())) {
            return found;
        }
        AnnotationTarget target = element.apply(type);
        AnnotationInstance own = target == null ? null : target.declaredAnnotation(RESOURCE);
        // Supertypes are visited in any case: an annotation that a nearer one replaces has an endpoint, too.
        Set<Declaration> inherited = type.superName() == null
                ? Set.of() : nearest(index.getClassByName(type.superName()), element, seen);
        Set<Declaration> implemented = new LinkedHashSet<>();
        for (DotName each : type.interfaceNames()) {
            implemented.addAll(nearest(index.getClassByName(each), element, seen));
        }
        if (own != null) {
            reached.add(target);
            found.add(declaration(own));
        } else {
            found.addAll(inherited.isEmpty() ? implemented : inherited);
        }
        return found;
    }

    private static AnnotationTarget itself(ClassInfo type) {
        return type;
    }

    /** Returns the method of a type that is the given one, overrides it, or is overridden by it. */
    private static MethodInfo overriding(ClassInfo type, MethodInfo method) {
        MethodInfo generic = null;
        for (MethodInfo each : type.methods()) {
            if (each.isSynthetic() || !each.name().equals(method.name())
                    || each.parametersCount() != method.parametersCount()) {
                continue;
            }
            if (each.parameterTypes().equals(method.parameterTypes())) {
                return each;
            }
            if (matches(each.parameterTypes(), method.parameterTypes())) {
                generic = each;
            }
        }
        return generic;
    }

    /** Compares parameters as one type: a variable of a generic supertype is each of its arguments. */
    private static boolean matches(List<Type> some, List<Type> others) {
        for (int i = 0; i < some.size(); i++) {
            Type one = some.get(i);
            Type other = others.get(i);
            if (!one.name().equals(other.name())
                    && one.kind() != Type.Kind.TYPE_VARIABLE
                    && other.kind() != Type.Kind.TYPE_VARIABLE) {
                return false;
            }
        }
        return true;
    }

    private static Declaration declaration(AnnotationInstance annotation) {
        AnnotationValue roles = annotation.value("defaultRoles");
        String authentication = text(annotation, "authentication", Resource.Authenticate.DEFAULT.name());
        String open = text(annotation, "isPublic", Resource.Toggle.UNCHANGED.name());
        return new Declaration(
                annotation.value("name").asString(),
                given(text(annotation, "action", "")),
                roles == null ? List.of() : List.of(roles.asStringArray()),
                given(text(annotation, "displayName", "")),
                authentication.equals(Resource.Authenticate.DEFAULT.name())
                        ? null
                        : Authentication.valueOf(authentication),
                open.equals(Resource.Toggle.UNCHANGED.name())
                        ? null
                        : Boolean.valueOf(open.equals(Resource.Toggle.TRUE.name())));
    }

    private static String text(AnnotationInstance annotation, String member, String otherwise) {
        AnnotationValue value = annotation.value(member);
        if (value == null) {
            return otherwise;
        }
        return value.kind() == AnnotationValue.Kind.ENUM ? value.asEnum() : value.asString();
    }

    private static String given(String text) {
        return text.isEmpty() ? null : text;
    }
}
