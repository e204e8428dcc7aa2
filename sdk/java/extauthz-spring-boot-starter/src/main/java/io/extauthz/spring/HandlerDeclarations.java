package io.extauthz.spring;

import io.extauthz.declare.Declaration;
import io.extauthz.declare.Resource;
import java.lang.reflect.AnnotatedElement;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.core.annotation.MergedAnnotation;
import org.springframework.core.annotation.MergedAnnotations;
import org.springframework.core.annotation.MergedAnnotations.SearchStrategy;
import org.springframework.web.method.HandlerMethod;

/**
 * Finds what a handler method declares: on the method, else on the class; each of them itself, else a super
 * class or an interface of it.
 */
final class HandlerDeclarations {

    private static final String OTHER_RESOURCE = "jakarta.annotation.Resource";

    private final Map<Key, Found> found = new ConcurrentHashMap<>();

    private record Key(AnnotatedElement method, Class<?> type) { }

    /** What a handler method declares; a conflict is a message, and nothing is declared then. */
    record Found(Optional<Declaration> declaration, Optional<String> conflict) { }

    Found of(HandlerMethod handler) {
        return found.computeIfAbsent(
                new Key(handler.getMethod(), handler.getBeanType()), key -> find(key.method(), key.type()));
    }

    private static Found find(AnnotatedElement method, Class<?> type) {
        Found onMethod = find(method);
        return onMethod.declaration().isPresent() || onMethod.conflict().isPresent() ? onMethod : find(type);
    }

    private static Found find(AnnotatedElement element) {
        MergedAnnotations annotations = MergedAnnotations.from(element, SearchStrategy.TYPE_HIERARCHY);
        List<MergedAnnotation<Resource>> all = annotations.stream(Resource.class).toList();
        if (all.isEmpty()) {
            return new Found(Optional.empty(), annotations.isPresent(OTHER_RESOURCE)
                    ? Optional.of("it is annotated with " + OTHER_RESOURCE + "; import " + Resource.class.getName())
                    : Optional.empty());
        }
        // The element itself goes before what it inherits; of what it inherits, all have to say the same.
        List<Declaration> own = declarations(all.stream().filter(each -> each.getAggregateIndex() == 0).toList());
        List<Declaration> candidates = own.isEmpty() ? declarations(all) : own;
        return candidates.size() == 1
                ? new Found(Optional.of(candidates.get(0)), Optional.empty())
                : new Found(Optional.empty(), Optional.of("it has several @Resource that differ, '"
                        + candidates.get(0).name() + "' and '" + candidates.get(1).name()
                        + "'; write the one that is meant on it"));
    }

    private static List<Declaration> declarations(List<MergedAnnotation<Resource>> annotations) {
        return annotations.stream().map(each -> Declaration.of(each.synthesize())).distinct().toList();
    }
}
